"""The demo tunes: public-domain melodies in our own settings, written as text.

Bass and drums are left out on purpose: playing them is the program's work.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A stretch of a tune.

    Attributes:
        text: melody and chord symbols in the notation of `demos.notation`.
        transpose: semitones to move the melody by.
        qpm: tempo in quarter notes a minute from here on; None keeps the last.
    """

    text: str
    transpose: int = 0
    qpm: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A tune and how it is set.

    Attributes:
        title: its usual name.
        origin: where it comes from, and so why it is free.
        key: key signature.
        metre: numerator and denominator.
        instrument: General MIDI program of the melody, from 0.
        accompaniment: General MIDI program of the chords.
        pattern: how a bar of chords is played, one sign an eighth: a digit plays that tone of the chord (counted
            upwards from the root, octaves included), `*` all of them, `-` holds on, `.` rests.
        passages: what is played, in order.
        opening: passages played once before them, such as a pickup.
    """

    title: str
    origin: str
    key: str
    metre: tuple[int, int]
    instrument: int
    accompaniment: int
    pattern: str
    passages: tuple[Passage, ...]
    opening: tuple[Passage, ...] = ()


_VERST = '"E"e2 Bc d2 cB | "Am"A2 Ac e2 dc | "E"B3 c d2 e2 | "Am"c2 A2 A4'
_REFRAIN = '"Dm"z d2 f a2 gf | "Am"e3 c e2 dc | "E"B2 Bc d2 e2 | "Am"c2 A2 A2 z2'
_korobeiniki = (Passage(_VERST, qpm=144), Passage(_VERST), Passage(_REFRAIN), Passage(_REFRAIN))

_CREEPING = '"Bm"B,C DE FD F2 | "C#"^EC ^E2 "C"=E=C =E2 | "Bm"B,C DE FD FB | "D"AF DF A4'
_CREEPING_HIGHER = '"F#"F^G ^AB c^A c2 | d^A d2 c^A c2 | F^G ^AB c^A c2 | d^A d2 c4'
_CAUGHT = '"Bm"B,C DE FD F2 | "C#"^EC ^E2 "C"=E=C =E2 | "Bm"B,C DE FD FB | "F#"F^A cF "Bm"B4'
_mountain_king = tuple(
    Passage(text, transpose, qpm)
    for transpose, tempi in ((0, (120, 124, 128)), (12, (136, 148, 160)))
    for text, qpm in (
        (_CREEPING, tempi[0]),
        (_CREEPING, None),
        (_CREEPING_HIGHER, tempi[1]),
        (_CREEPING_HIGHER, None),
        (_CREEPING, tempi[2]),
        (_CAUGHT, None),
    )
)

_GREENSLEEVES_VERSE = """
    "Am"c4 d2 | e3 ^f e2 | "G"d4 B2 | G3 A B2 | "Am"c4 A2 | A3 ^G A2 | "E"B4 ^G2 | E4 A2 |
    "Am"c4 d2 | e3 ^f e2 | "G"d4 B2 | G3 A B2 | "Am"c3 B A2 | "E"^G3 ^F ^G2 | "Am"A6 | A6"""
_GREENSLEEVES_CHORUS = """
    "C"g6 | g3 ^f e2 | "G"d4 B2 | G3 A B2 | "Am"c4 A2 | A3 ^G A2 | "E"B4 ^G2 | E6 |
    "C"g6 | g3 ^f e2 | "G"d4 B2 | G3 A B2 | "Am"c3 B A2 | "E"^G3 ^F ^G2 | "Am"A6 | A4"""

_SAINTS = """
    "F"c8 | z2 F2 A2 B2 | c8 | z2 F2 A2 B2 | c4 A4 | F4 A4 | "C7"G8 | z2 A2 A2 G2 |
    "F"F6 F2 | "F7"A4 c2 c2 | "Bb"B8 | z4 A2 B2 | "F"c4 A4 | "C7"F4 G4 | "F"F8 |"""
_SAINTS_CALL = "z2 F2 A2 B2"

_RISING_SUN = """
    "Am"A3- A2 B | "C"c3- c2 e | "D"d2 A A3- | "F"A3 z2 a | "Am"a3- a2 a | "C"g3 e3 | "E"e6- | e3 z a2 |
    "Am"a3- a2 a | "C"g3 e2 e | "D"d3 A2 A | "F"A3 z2 A | "Am"A3- A2 c | "E"B3 ^G3 | "Am"A6- |"""

_JOY = '"D"F2F2G2A2 | "A7"A2G2F2E2 | "D"D2D2E2F2 | F3E "A"E4'
_JOY_CLOSE = '"D"F2F2G2A2 | "A7"A2G2F2E2 | "D"D2D2E2F2 | "A7"E3D "D"D4'
_JOY_ANSWER = """
    "A"E2E2 "D"F2D2 | "A"E2FG "D"F2D2 | "A"E2FG "F#"F2E2 | "Bm"D2 "E7"E2 "A"A,2 "D"F2- |
    F2F2G2A2 | "A7"A2G2F2E2 | "D"D2D2E2F2 | "A7"E3D "D"D4"""
_ode_to_joy = tuple(
    Passage(text, transpose, qpm)
    for transpose, qpm in ((0, 116), (12, None))
    for text, qpm in ((_JOY, qpm), (_JOY_CLOSE, None), (_JOY_ANSWER, None), (_JOY_ANSWER, None))
)

_LANTERNS = """
    "G"D2 G2 A2 B2 | "D"d3 B A4 | "Em"B2 d2 e2 d2 | "G"B3 A G4 |
    "C"E2 GA z G A2 | "G"B3 A G2 E2 | "D"D2 EG z A2 B | "G"G6 z2"""
_LANTERNS_ACROSS = """
    "Em"e3 d e2 g2 | "C"e2 d2 B4 | "G"d3 B d2 e2 | "Em"B2 A2 G4 |
    "Em"e3 d e2 g2 | "C"e2 dB z d B2 | "Am"A2 B2 d2 e2 | "D"A6 z2"""

TUNES = {
    "korobeiniki": Tune(
        title="Korobeiniki",
        origin="Russian folk song, words by Nekrasov (1861); known as the Tetris theme",
        key="Am",
        metre=(4, 4),
        instrument=21,
        accompaniment=24,
        pattern=".*.*.*.*",
        passages=_korobeiniki * 2,
    ),
    "mountain-king": Tune(
        title="In the Hall of the Mountain King",
        origin="Edvard Grieg (1843–1907), Peer Gynt, op. 23 (1875)",
        key="Bm",
        metre=(4, 4),
        instrument=71,
        accompaniment=45,
        pattern=".*.*.*.*",
        passages=_mountain_king,
    ),
    "greensleeves": Tune(
        title="Greensleeves",
        origin="English, 16th century",
        key="Am",
        metre=(3, 4),
        instrument=73,
        accompaniment=24,
        pattern="012321",
        opening=(Passage('"Am"z4 A2', qpm=126),),
        passages=(
            Passage(_GREENSLEEVES_VERSE),
            Passage(_GREENSLEEVES_CHORUS + " A2"),
            Passage(_GREENSLEEVES_VERSE),
            Passage(_GREENSLEEVES_CHORUS + " z2"),
        ),
    ),
    "saints": Tune(
        title="When the Saints Go Marching In",
        origin="American spiritual, 19th century",
        key="F",
        metre=(4, 4),
        instrument=56,
        accompaniment=105,
        pattern="..*...*.",
        opening=(Passage('"F"' + _SAINTS_CALL, qpm=184),),
        passages=(
            Passage(_SAINTS + _SAINTS_CALL),
            Passage(_SAINTS + _SAINTS_CALL),
            Passage(_SAINTS + "F4 z4"),
        ),
    ),
    "rising-sun": Tune(
        title="House of the Rising Sun",
        origin="American folk song, collected from 1905 on",
        key="Am",
        metre=(6, 8),
        instrument=65,
        accompaniment=25,
        pattern="012321",
        opening=(Passage('"Am"z3 z2 A', qpm=112),),
        passages=(
            Passage(_RISING_SUN + '"E"A3 z2 A'),
            Passage(_RISING_SUN + '"E"A3 z2 A'),
            Passage(_RISING_SUN + '"Am"A3 z3'),
        ),
    ),
    "ode-to-joy": Tune(
        title="Ode to Joy",
        origin="Ludwig van Beethoven (1770–1827), Symphony no. 9 (1824)",
        key="D",
        metre=(4, 4),
        instrument=68,
        accompaniment=48,
        pattern="*---*---",
        passages=_ode_to_joy,
    ),
    "lantern-walk": Tune(
        title="Lantern Walk",
        origin="a pentatonic tune written for this project",
        key="G",
        metre=(4, 4),
        instrument=75,
        accompaniment=46,
        pattern="02132312",
        passages=(
            Passage(_LANTERNS, qpm=100),
            Passage(_LANTERNS),
            Passage(_LANTERNS_ACROSS),
            Passage(_LANTERNS),
        ),
    ),
}
"""The demo tunes by the name `--demo` knows them by."""
