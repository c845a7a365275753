"""Stitching is surgery: what is kept is kept to the byte, and what is added lies where the grid says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxaccomp.errors import ConfigError, MelodyError
from jaxaccomp.music import build, melody, midi, smf, stitch
from tests.music import songs
from tests.music.test_melody import CHORDS, HATS, LOW, TUNE, notes

FOLDER = Path(__file__).parents[1] / "golden" / "trio" / "midi"
FIELDS = ["start", "end", "pitch", "velocity", "channel", "program"]


def band(found: melody.Melody, seed: int = 0, parts: int = 2) -> np.ndarray:
    """Random tokens of bass and drums, many of them where nothing may come out."""
    random = np.random.default_rng(seed)
    tokens = np.stack(
        [random.integers(0, 90, found.tokens_NL.shape), random.integers(0, 512, found.tokens_NL.shape)], -1
    )
    tokens[random.random(tokens.shape) < 0.5] = 0
    return tokens[..., :parts].astype(np.int32)


def messages(score: midi.Score, chunk: int | None = None) -> list[tuple]:
    """All voice messages of a Score or of one of its chunks: (tick, status, first, second)."""
    events = score.events
    events = events.select((events.status < 0xF0) & ((events.chunk == chunk) | (chunk is None)))
    return list(
        zip(*(column.tolist() for column in (events.tick, events.status, events.first, events.second)), strict=True)
    )


def marks(score: midi.Score) -> list[tuple]:
    """Everything that is no voice message, but for names and end marks: (tick, status, kind, payload), in order."""
    events = score.events
    rows = np.flatnonzero((events.status >= 0xF0) & ~((events.status == smf.META) & np.isin(events.first, [3, 0x2F])))
    return sorted(
        (int(events.tick[row]), int(events.status[row]), int(events.first[row]), smf.payload(score.data, events, row))
        for row in rows
    )  # fmt: skip


def with_marks(song: dict) -> midi.Score:
    lyrics = [(100 * i, smf.meta(smf.LYRIC, b"la")) for i in range(5)]
    return midi.Score.build(**song, marks=[*lyrics, (7, b"\xf0\x04\x7e\x7f\x09\xf7"), (9, smf.meta(0x7F, b"\x00\x01"))])


def as_format_0(score: midi.Score) -> midi.Score:
    """The same events in one chunk."""
    events = score.events.select((score.events.status != smf.META) | (score.events.first != smf.END_OF_TRACK))
    events = events.select(np.argsort(events.tick, kind="stable"))
    pool = np.frombuffer(score.data, np.uint8)
    chunk = smf.encode(events.tick, pool, events.body, events.end - events.body)
    return midi.read(build.assemble(0, score.ticks_per_quarter, [chunk]))


@settings(max_examples=60, deadline=None)
@given(songs.songs(), st.booleans(), st.sampled_from(["melody", "all"]), st.integers(0, 9))
def test_what_is_kept_is_left_in_place(song, single, keep, seed):
    score = as_format_0(with_marks(song)) if single else with_marks(song)
    try:
        choice = melody.choose(score)
    except MelodyError:
        assume(False)
    found = melody.windows(score, choice)
    result = midi.read(stitch.stitch(score, found, band(found, seed), keep=keep).data)
    kept = [
        track
        for track in score.tracks
        if track.index in choice.tracks or (keep == "all" and track.kind not in ("bass", "drums"))
    ]
    originals = {track.channel: track for track in result.tracks if (track.name, track.chunk) not in made(result)}
    assert {track.channel for track in kept} == set(originals)
    for track in kept:
        np.testing.assert_array_equal(
            result.track_notes(originals[track.channel].index)[FIELDS], score.track_notes(track.index)[FIELDS]
        )
        assert [m for m in messages(score) if m[1] & 15 in track.channels] == messages(
            result, originals[track.channel].chunk
        )
        if not single:
            start, end = score.header.chunks[track.chunk]
            assert score.data[start - 8 : end] in result.data
    assert marks(result) == marks(score)
    np.testing.assert_array_equal(result.tempos, score.tempos)
    np.testing.assert_array_equal(result.metres, score.metres)
    assert result.header.format == 1
    assert result.ticks_per_quarter == score.ticks_per_quarter


def made(result: midi.Score) -> set[tuple[str, int]]:
    """(name, chunk) of the two chunks that stitching adds."""
    last = len(result.header.chunks)
    return {("Bass", last - 2), ("Drums", last - 1)}


@settings(max_examples=60, deadline=None)
@given(songs.songs(), st.integers(0, 9))
def test_the_band_plays_on_the_grid_and_stops_with_the_melody(song, seed):
    score = midi.Score.build(**song)
    try:
        found = melody.windows(score, melody.choose(score))
    except MelodyError:
        assume(False)
    grid = found.grid
    result = stitch.stitch(score, found, band(found, seed))
    tune = np.concatenate([score.track_notes(track) for track in found.choice.tracks])
    channels = {channel for track in found.choice.tracks for channel in score.tracks[track].channels}
    for track in result.tracks:
        if (track.name, track.chunk) in made(result):
            assert track.channel not in channels
            assert (track.channel, track.program) == (9, 0) if track.name == "Drums" else track.program == 33
            played = result.track_notes(track.index)
            steps = grid.step_of(played["start"])
            np.testing.assert_array_equal(grid.tick_of(steps), played["start"])
            assert grid.is_used(steps).all()
            assert played["end"].max() <= grid.end_ticks[-1]
            heard = tune[(tune["pitch"] >= 21) & (tune["pitch"] <= 108)]
            assert grid.start_ticks[np.flatnonzero(grid.opens_bar)[-1]] < heard["end"].max()
            assert played["velocity"].min() >= 1


def little(metres=(), quarters=8, velocity=90) -> tuple[midi.Score, melody.Melody]:
    tune = midi.Part("tune", 0, 73, notes([(i, 1, 72, velocity) for i in range(quarters)]))
    score = midi.Score.build(480, [tune], metres=metres)
    return score, melody.windows(score, melody.Choice(0, ""))


def test_generated_notes_come_out_where_their_tokens_say():
    score, found = little([(0, 3, 4)], quarters=6)
    tokens = np.zeros((1, 256, 2), np.int32)
    tokens[0, [0, 6, 11, 13, 16, 30, 32], 0] = [20, 1, 21, 22, 1, 24, 25]
    tokens[0, [0, 12, 18, 32, 255], 1] = [1 + 256, 1, 4, 1, 1]
    bass = stitch.band_notes(score, found, tokens[:, :, 0], "bass")
    # Step 13 lies in the unused part: it ends what sounds, at the bar's end, and is not heard itself.
    assert bass[["start", "end", "pitch"]].tolist() == [(0, 720, 39), (1320, 1440, 40)]
    drums = stitch.band_notes(score, found, tokens[:, :, 1], "drums")
    assert drums[["start", "end", "pitch"]].tolist() == [(0, 120, 36), (0, 120, 51), (1680, 1800, 42)]


def test_what_sounds_at_a_windows_end_ends_there():
    score, found = little(quarters=70)
    tokens = np.zeros((2, 256), np.int32)
    tokens[0, 250], tokens[1, 8] = 30, 31
    bass = stitch.band_notes(score, found, tokens, "bass")
    assert bass["end"].tolist() == [16 * 1920, 18 * 1920]


def test_the_band_waits_for_the_first_note():
    tune = midi.Part("tune", 0, 73, notes([(9, 1, 72, 90)]))
    score = midi.Score.build(480, [tune])
    found = melody.windows(score, melody.Choice(0, ""))
    drums = stitch.band_notes(score, found, np.full((1, 256), 1, np.int32), "drums")
    assert (drums["start"].min(), drums["end"].max()) == (2 * 1920, 3 * 1920)


def test_velocities_follow_the_melody_with_an_accent():
    rows = [(i, 1, 72, 40 if i < 16 else 100) for i in range(32)]
    score = midi.Score.build(480, [midi.Part("tune", 0, 73, notes(rows))])
    found = melody.windows(score, melody.Choice(0, ""))
    drums = stitch.band_notes(score, found, np.full((1, 256), 1, np.int32), "drums")
    soft, loud = drums[drums["start"] < 10 * 480]["velocity"], drums[drums["start"] >= 22 * 480]["velocity"]
    assert soft[:16].tolist() == [46, 34, 38, 34, 42, 34, 38, 34, 42, 34, 38, 34, 42, 34, 38, 34]
    assert set(loud.tolist()) == {94, 98, 102, 106}


def test_parts_may_be_one_alone_and_in_any_order():
    score, found = little()
    tokens = band(found)
    both = stitch.stitch(score, found, tokens)
    assert stitch.stitch(score, found, tokens[..., ::-1], ("drums", "bass")).tracks[1:] != both.tracks[1:]
    for column, part in enumerate(("bass", "drums")):
        alone = stitch.stitch(score, found, tokens[..., [column]], (part,))
        assert [track.name for track in alone.tracks] == ["tune", part.title()]
    with pytest.raises(ConfigError, match=r"expected tokens \[\d+, 256, 1\] of bass, got"):
        stitch.stitch(score, found, tokens, ("bass",))
    with pytest.raises(ConfigError, match="parts must be bass, drums or both, got bass, bass"):
        stitch.stitch(score, found, tokens, ("bass", "bass"))


def test_keep_all_drops_basses_and_drums_alone():
    score = midi.Score.build(480, [
        midi.Part("Keys", 2, 0, CHORDS), midi.Part("Flute", 4, 73, TUNE), midi.Part("Old bass", 0, 33, LOW),
        midi.Part("Kit", 9, 0, HATS),
    ])  # fmt: skip
    found = melody.windows(score, melody.choose(score))
    result = stitch.stitch(score, found, band(found), keep="all")
    assert [track.name for track in result.tracks] == ["Keys", "Flute", "Bass", "Drums"]
    assert result.tracks[2].channel == 0
    only = stitch.stitch(score, found, band(found))
    assert [track.name for track in only.tracks] == ["Flute", "Bass", "Drums"]


def test_with_all_channels_taken_the_bass_gets_a_port_of_its_own():
    parts = [midi.Part(f"{channel}", channel, 73, TUNE) for channel in range(16) if channel != 9]
    score = midi.Score.build(480, parts)
    found = melody.windows(score, melody.Choice(0, ""))
    result = stitch.stitch(score, found, band(found), keep="all")
    ports = np.flatnonzero((result.events.status == smf.META) & (result.events.first == smf.PORT))
    assert [smf.payload(result.data, result.events, row) for row in ports] == [b"\x01"]


@pytest.mark.parametrize("name", ["syn01_basic16", "syn03b_tempo_change_midbar", "syn05_multi_instruments"])
def test_a_song_comes_back_with_its_melody_to_the_byte(name):
    score = midi.read(FOLDER / f"{name}.mid")
    found = melody.windows(score, melody.choose(score))
    result = midi.read(stitch.stitch(score, found, band(found)).data)
    kept = score.tracks[found.choice.track]
    start, end = score.header.chunks[kept.chunk]
    assert score.data[start - 8 : end] in result.data
    assert len(result.tracks) == 3


def test_rubbish_behind_a_chunks_end_mark_does_not_come_along():
    plain, _ = little()
    header = plain.header
    start, end = header.chunks[1]
    grown = (end - start + 3).to_bytes(4, "big")
    data = plain.data[: start - 4] + grown + plain.data[start:end] + b"\xff\xff\xff" + plain.data[end:]
    score = midi.read(data, strict=True)
    found = melody.windows(score, melody.Choice(0, ""))
    result = stitch.stitch(score, found, band(found))
    assert result.data == stitch.stitch(plain, found, band(found)).data


@pytest.mark.parametrize(
    "mark", [smf.meta(smf.KEY, b"\xfc\xff"), smf.meta(smf.KEY, b"\x09\x00"), b"\xf0\x03\x41\x90\xf7"]
)
def test_marks_on_which_other_readers_give_up_are_left_out(mark):
    tune = midi.Part("melody", 0, 73, notes([(i, 1, 72, 90) for i in range(8)]))
    score = midi.Score.build(480, [tune], marks=[(0, mark), (0, smf.meta(smf.KEY, b"\xfc\x00"))])
    found = melody.windows(score, melody.Choice(0, ""))
    result = stitch.stitch(score, found, band(found)).data
    assert mark not in result
    assert smf.meta(smf.KEY, b"\xfc\x00") in result
