import pytest

from jaxaccomp.demos import notation
from jaxaccomp.demos.notation import NotationError, Note


def pitches(text, key="C", steps_per_bar=16):
    return [note.pitch for note in notation.parse(text, key, steps_per_bar).notes]


def test_octaves_and_lengths():
    line = notation.parse("C, C c c'", "C", 8)
    assert line.notes == (Note(0, 2, 48), Note(2, 2, 60), Note(4, 2, 72), Note(6, 2, 84))


def test_lengths_after_a_rest():
    line = notation.parse("z2 E3 F/G/ A2", "C", 16)
    assert line.notes == (Note(4, 6, 64), Note(10, 1, 65), Note(11, 1, 67), Note(12, 4, 69))
    assert line.steps == 16


def test_key_signature_and_accidentals_last_one_bar():
    assert pitches("F2 c2 =F2 F2 | F2 f2 _B2 B2", "D") == [66, 73, 65, 65, 66, 78, 70, 70]
    assert pitches("B2 E2 ^B2 B2", "F") == [70, 64, 72, 72]


def test_an_accidental_holds_for_its_own_octave():
    assert pitches("^F2 f2 F2 f2") == [66, 77, 66, 77]


def test_ties_join_over_the_bar_line():
    line = notation.parse("C8- | C4 D4", "C", 16)
    assert line.notes == (Note(0, 24, 60), Note(24, 8, 62))


def test_chords_keep_their_place():
    assert notation.parse('"Am"A4 "E7"B4 | "Am"A8', "Am", 16).chords == ((0, "Am"), (8, "E7"), (16, "Am"))


@pytest.mark.parametrize(
    ("symbol", "tones"),
    [("C", (60, 64, 67)), ("Am", (57, 60, 64)), ("F#", (54, 58, 61)), ("Bb", (58, 62, 65)), ("G7", (55, 59, 62, 65))],
)
def test_chord_symbols(symbol, tones):
    assert notation.chord_pitches(symbol) == tones


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("C4 D4 | C8 D", "bar 2 has 18 sixteenths, expected 16"),
        ("C4 | C4 D4", "bar 1 has 8 sixteenths"),
        ("C4- D4", "tie joins two different notes"),
        ("C4- z4", "tie leads to a rest"),
        ("C4 ? D4", "cannot read"),
    ],
)
def test_faults_are_named(text, says):
    with pytest.raises(NotationError, match=says):
        notation.parse(text, "C", 16)


def test_unknown_key_and_chord():
    with pytest.raises(NotationError, match="unknown key 'H'"):
        notation.parse("C8", "H", 16)
    with pytest.raises(NotationError, match="chord symbol 'Asus4'"):
        notation.chord_pitches("Asus4")
