"""Kinds of files, made at random: what holds for one small case holds for its whole kind."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxaccomp.errors import MelodyError
from jaxaccomp.music import build, grid, melody, midi, smf
from jaxaccomp.music.midi import Part, Score
from tests.music.lines import accompany, chunk, lines, messages, name, notes, of_original, quick, sorted_notes

RESETS = {
    "gm": b"\xf0\x05\x7e\x7f\x09\x01\xf7",
    "gm2": b"\xf0\x05\x7e\x7f\x09\x03\xf7",
    "gs": b"\xf0\x0a\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7",
    "xg": b"\xf0\x08\x43\x10\x4c\x00\x00\x7e\x00\xf7",
}


@quick
@given(lines(), st.data(), st.sampled_from(["melody", "all"]), st.booleans())
def test_a_line_spread_over_channels_of_one_chunk_stays_whole(line, data, keep, is_chordal):
    channels = data.draw(st.lists(st.sampled_from([0, 1, 2, 5, 15]), min_size=len(line), max_size=len(line)))
    programs = {c: 30 if is_chordal else data.draw(st.integers(24, 31), label=f"program of {c}") for c in set(channels)}
    events = [name("Guitar"), *((0, bytes([0xC0 | c, p])) for c, p in programs.items()), *messages(line, channels)]
    chords = chunk([name("Pads"), (0, b"\xc8\x59"), *messages(notes([(0, 30_000, 48, 20)]), [8])])
    score = midi.read(build.assemble(1, 480, [chunk(events), chords]))
    assert [track.channels for track in score.tracks] == [tuple(sorted(set(channels))), (8,)]
    result, _ = accompany(score, keep, track="0")
    expected = score.notes if keep == "all" else score.track_notes(0)
    assert len(score.track_notes(0)) == len(line)
    assert sorted_notes(of_original(result)) == sorted_notes(expected)


@quick
@given(lines(), st.lists(st.tuples(st.sampled_from(sorted(RESETS)), st.integers(0, 12_000)), min_size=1, max_size=4))
def test_bass_and_drums_have_their_programs_after_any_reset(line, resets):
    marks = [(tick, RESETS[kind]) for kind, tick in resets]
    score = midi.read(Score.build(480, [Part("Melody", 4, 73, line)], marks=marks).data)
    assert score.setup.reset_ticks.tolist() == sorted(tick for _, tick in resets)
    result, _ = accompany(score)
    events, (bass, drums) = result.events, result.tracks[-2:]
    for track in (bass, drums):
        mine = events.status & 0x0F == track.channel
        sent = events.tick[mine & (events.status & 0xF0 == smf.PROGRAM)]
        strikes = events.tick[mine & (events.status & 0xF0 == smf.NOTE_ON) & (events.second > 0)]
        last_reset = [max((tick for _, tick in resets if tick <= strike), default=0) for strike in strikes.tolist()]
        last_sent = [sent[sent <= strike].max(initial=-1) for strike in strikes.tolist()]
        assert all(program >= reset for program, reset in zip(last_sent, last_reset, strict=True))


@quick
@given(st.sets(st.sampled_from([c for c in range(16) if c != 9]), min_size=1, max_size=15), lines(most=6))
def test_the_bass_takes_a_channel_without_notes_and_a_port_only_when_all_have_some(busy, line):
    set_up = [(0, bytes([0xC0 | c, 60])) for c in range(16)] + [(0, bytes([0xB0 | c, 7, 99])) for c in range(16)]
    parts = [chunk([name(f"Flute {c}"), *messages(line, [c] * len(line))]) for c in sorted(busy)]
    score = midi.read(build.assemble(1, 480, [chunk(sorted(set_up)), *parts]))
    result, _ = accompany(score, "all")
    bass = result.tracks[-2]
    assert bass.port == (1 if len(busy) == 15 else 0)
    assert bass.port or bass.channel not in busy | {9}
    spoken_of = set((result.events.status[result.events.status < 0xF0] & 15).tolist())
    assert spoken_of == busy | {bass.channel, 9}
    assert {track.program for track in result.tracks[:-2]} == {60}


@quick
@given(lines(), st.sampled_from([c for c in range(16) if c not in (3, 9)]), st.sampled_from(["gs", "xg", "bank"]))
def test_a_channel_that_is_declared_drums_is_drums_and_stays_so_for_nobody_else(line, channel, how):
    block = channel + 1 if channel < 9 else channel
    declared = {
        "gs": bytes([0xF0, 0x0A, 0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | block, 0x15, 0x02, 0x00, 0xF7]),
        "xg": bytes([0xF0, 0x08, 0x43, 0x10, 0x4C, 0x08, channel, 0x07, 0x01, 0xF7]),
        "bank": bytes([0xB0 | channel, 0, 127]),
    }[how]
    hits = notes([(480 * i, 480 * i + 60, 38, 120) for i in range(20)])
    chunks = [
        chunk([(0, declared), (0, bytes([0xC0 | channel, 0])), *messages(hits, [channel] * 20)]),
        chunk([(0, b"\xc3\x49"), *messages(line, [3] * len(line))]),
    ]
    score = midi.read(build.assemble(1, 480, chunks))
    assert {track.channel: track.is_drums for track in score.tracks} == {channel: True, 3: False}
    result, choice = accompany(score, "all")
    assert score.tracks[choice.track].channel == 3
    assert sorted_notes(of_original(result)) == sorted_notes(line)
    assert result.tracks[-2].channel not in (channel, 3, 9)


def test_bank_127_is_no_drum_kit_on_a_synthesizer_set_to_gs():
    events = [(0, RESETS["gs"]), (1, b"\xb3\x00\x7f"), (1, b"\xc3\x30"), *messages(notes([(9, 480, 60, 90)]), [3])]
    assert not midi.read(build.assemble(1, 480, [chunk(events)])).tracks[0].is_drums


DRUM_NAMES = ["Snare", "SNARE 2", "Closed Hat", "Hi-Hat", "Kick", "Crash Cymbal", "Percussion", "Drum kit", "ドラム",
              "Ударные", "鼓", "드럼", "Schlagzeug", "Batería"]  # fmt: skip
BASS_NAMES = [
    "Bass",
    "BASS 1",
    "E-Bass",
    "Synth Bass",
    "Slap bass",
    "ベース",
    "Бас-гитара",
    "贝斯",
    "베이스",
    "Kontrabass",
]
OTHER_NAMES = ["Bassoon", "Steel Drums", "Bass Clarinet", "Ride the wind", "Tom's guitar", "Basset Horn", "Piano"]


@pytest.mark.parametrize("called", DRUM_NAMES + BASS_NAMES)
def test_what_is_called_a_bass_or_drums_is_never_the_melody_and_leaves(called):
    low = notes([(480 * i, 480 * i + 240, 40, 120) for i in range(32)])
    calm = notes([(1920 * i, 1920 * i + 1680, 67 + i % 3, 70) for i in range(8)])
    score = midi.read(Score.build(480, [Part(called, 0, 0, low), Part("Guitar 1", 1, 29, calm)]).data)
    assert score.tracks[0].kind == ("drums" if called in DRUM_NAMES else "bass")
    result, choice = accompany(score, "all")
    assert choice.track == 1
    assert [track.name for track in result.tracks] == ["Guitar 1", "Bass", "Drums"]


@pytest.mark.parametrize("called", OTHER_NAMES)
def test_what_only_sounds_like_a_bass_or_drums_stays(called):
    score = Score.build(480, [Part(called, 0, 0, notes([(0, 480, 40, 90)]))])
    assert score.tracks[0].kind == "pitched"


@pytest.mark.parametrize("program", range(112, 120))
def test_percussion_programs_are_the_melody_only_where_nothing_else_is(program):
    hits = Part("", 0, program, notes([(480 * i, 480 * i + 240, 60 + i % 5, 120) for i in range(32)]))
    calm = Part("", 1, 29, notes([(0, 1680, 67, 70)]))
    assert melody.choose(Score.build(480, [hits, calm])).track == 1
    assert melody.choose(Score.build(480, [hits])).track == 0


@quick
@given(lines(high=80), st.integers(0, 127), st.integers(0, 127), st.booleans())
def test_a_program_set_in_another_chunk_is_the_channels(line, program, later, is_changed):
    end = int(line["end"].max())
    set_up = [(0, bytes([0xC2, program])), *([(end + 1, bytes([0xC2, later]))] if is_changed else [])]
    body = chunk([name("Melody"), *messages(line, [2] * len(line))])
    score = midi.read(build.assemble(1, 480, [chunk(set_up), body]))
    assert score.tracks[0].program == program
    result, _ = accompany(score, track="0")
    assert result.tracks[0].program == program


@quick
@given(
    st.lists(st.tuples(st.sampled_from([(3, 4), (4, 4), (6, 8), (2, 4)]), st.integers(1, 4)), min_size=2, max_size=6),
    st.data(),
)
def test_metres_told_up_to_a_32nd_late_or_early_give_the_grid_of_those_told_in_time(bars, data):
    exact, shifted, tick = [], [], 0
    for (numerator, denominator), count in bars:
        slip = data.draw(st.integers(0 if tick == 0 else -60, 60))
        exact.append((tick, numerator, denominator))
        shifted.append((tick + slip, numerator, denominator))
        tick += count * 4 * 480 * numerator // denominator
    line = notes([(480 * i, 480 * i + 480, 60 + i % 7, 90) for i in range(tick // 480)])
    grids = [grid.Grid.of(Score.build(480, [Part("", 0, 0, line)], metres=told)) for told in (exact, shifted)]
    for field in ("start_ticks", "end_ticks", "used_from", "used_to", "opens_bar"):
        np.testing.assert_array_equal(getattr(grids[0], field), getattr(grids[1], field))


@quick
@given(lines(), st.data(), st.sampled_from(["{} 1|{} 2", "{}|{} cont.", "{} (verse)|{} (chorus)", "{} A|{} B"]))
def test_a_line_that_goes_on_in_another_track_of_its_name_is_joined(line, data, names):
    cut = data.draw(st.integers(2, len(line) - 2))
    first, second = names.format("Vocal", "Vocal").split("|")
    parts = [Part(first, 0, 53, line[:cut]), Part(second, 1, 53, line[cut:])]
    assume(abs(line[:cut]["pitch"].mean() - line[cut:]["pitch"].mean()) < 9)
    chords = Part("Piano", 2, 0, notes([(0, int(line["end"].max()), 48, 60)]))
    score = midi.read(Score.build(480, [*parts, chords]).data)
    choice = melody.choose(score)
    assert choice.tracks == (0, 1)
    assert "joined by track" in choice.reason
    result, _ = accompany(score)
    assert sorted_notes(of_original(result)) == sorted_notes(line)


def test_lines_that_sound_together_are_not_joined():
    rows = [(480 * i, 480 * i + 480, 60, 90) for i in range(16)]
    score = Score.build(480, [Part("Vocal 1", 0, 53, notes(rows)), Part("Vocal 2", 1, 53, notes(rows))])
    assert melody.choose(score).joined == ()


def test_a_melody_error_tells_what_there_is():
    with pytest.raises(MelodyError, match="say which by number: 0 'Kit' \\(drums\\)"):
        melody.choose(Score.build(480, [Part("Kit", 9, 0, notes([(0, 9, 60, 90)]))]))
