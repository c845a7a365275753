"""Damaged files are played as far as they make sense."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxaccomp.errors import MidiError
from jaxaccomp.music import midi, smf
from jaxaccomp.music.midi import Part, Score
from tests.music.lines import lines, notes, sorted_notes


@settings(max_examples=40, deadline=None)
@given(lines(), st.data())
def test_damage_costs_at_most_what_is_damaged(line, data):
    whole = Score.build(480, [Part("Melody", 0, 73, line), Part("Keys", 1, 0, line)]).data
    kind = data.draw(st.sampled_from(["cut", "length", "junk", "velocity"]))
    third = whole.rfind(b"MTrk")
    if kind == "cut":
        damaged = whole[: data.draw(st.integers(third + 30, len(whole) - 5))]
    elif kind == "length":
        wrong = data.draw(st.integers(1, 1 << 24))
        assume(wrong != int.from_bytes(whole[third + 4 : third + 8], "big"))
        damaged = whole[: third + 4] + wrong.to_bytes(4, "big") + whole[third + 8 :]
    elif kind == "junk":
        junk = data.draw(st.binary(min_size=1, max_size=40).filter(lambda junk: b"M" not in junk))
        damaged = whole[:third] + junk + whole[third:]
    else:
        header = smf.parse_header(whole, "")
        events = smf.decode(whole, header, "")
        row = int(np.flatnonzero((events.status & 0xF0 == 0x90) & (events.chunk == 2))[0])
        damaged = bytearray(whole)
        damaged[int(events.end[row]) - 1] = data.draw(
            st.integers(128, 255).filter(lambda byte: not 0xF8 <= byte < 0xFF)
        )
        damaged = bytes(damaged)
    try:
        midi.read(damaged, strict=True)
    except MidiError:
        score = midi.read(damaged)
        assert score.repaired
    else:
        score = midi.read(damaged)
        assert score.repaired == ()
    assert sorted_notes(score.notes[score.notes["channel"] == 0]) == sorted_notes(line)
    if kind != "cut":
        mine = score.notes[score.notes["channel"] == 1]
        assert mine["start"].tolist() == line["start"].tolist() or kind == "length"


@pytest.mark.parametrize("frames", [24, 25, 29, 30])
@pytest.mark.parametrize("parts", [1, 4, 40, 100])
def test_film_time_is_read_at_its_rate(frames, parts):
    plain = Score.build(480, [Part("Melody", 0, 0, notes([(0, 10 * parts, 60, 90)]))])
    data = plain.data[:12] + bytes([256 - frames, parts]) + plain.data[14:]
    score = midi.read(data)
    seconds = score.notes["end"][0] / score.ticks_per_quarter * score.tempos["microseconds"][0] / 1e6
    rate = {29: 30_000 / 1001}.get(frames, frames)
    assert seconds == pytest.approx(10 / rate, rel=1e-4)
    assert score.tempos["microseconds"][0] == pytest.approx(500_000, rel=0.05 if frames * parts < 60 else 0.005)
