"""Single lines of notes, laid into files by hand, for the tests of kinds of files."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from jaxaccomp.music import build, melody, midi, smf, stitch
from jaxaccomp.music.midi import NOTE, Score

FIELDS = ["start", "end", "pitch", "velocity"]
quick = settings(max_examples=20, deadline=None)


def notes(rows) -> np.ndarray:
    """Rows (start, end, pitch, velocity)."""
    return np.array([(*row, 0, 0, 0) for row in rows], NOTE)


@st.composite
def lines(draw, most: int = 24, low: int = 50, high: int = 90) -> np.ndarray:
    """One voice: notes one after the other, some with rests between."""
    tick, rows = draw(st.integers(0, 3)) * 480, []
    for _ in range(draw(st.integers(4, most))):
        length = draw(st.sampled_from([120, 240, 480, 960]))
        rows.append((tick, tick + length, draw(st.integers(low, high)), draw(st.integers(1, 127))))
        tick += length + draw(st.sampled_from([0, 0, 120, 480]))
    return notes(rows)


def chunk(events: list[tuple[int, bytes]]) -> bytes:
    return build.encode_marks(events)


def messages(line: np.ndarray, channels) -> list[tuple[int, bytes]]:
    """Offs and ons of a line, each note on a channel of its own."""
    found = []
    for note, channel in zip(line.tolist(), channels, strict=True):
        found.append((note[1], 0, bytes([0x80 | channel, note[2], 0])))
        found.append((note[0], 1, bytes([0x90 | channel, note[2], note[3]])))
    return [(tick, body) for tick, _, body in sorted(found, key=lambda event: event[:2])]


def name(words: str) -> tuple[int, bytes]:
    return 0, smf.meta(smf.TRACK_NAME, words.encode())


def accompany(score: Score, keep: str = "melody", track=None) -> tuple[Score, melody.Choice]:
    choice = melody.choose(score, track=track)
    found = melody.windows(score, choice)
    tokens = np.zeros((*found.tokens_NL.shape, 2), np.int32)
    tokens[:, ::4] = (20, 1)
    return midi.read(stitch.stitch(score, found, tokens, keep=keep).data, strict=True), choice


def sorted_notes(rows: np.ndarray) -> list:
    return np.sort(rows[FIELDS], order=FIELDS).tolist()


def of_original(result: Score) -> np.ndarray:
    band = {track.index for track in result.tracks if track.name in ("Bass", "Drums")}
    return result.notes[~np.isin(result.notes["track"], list(band))]
