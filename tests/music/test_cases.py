"""Small files of the kinds that people really have: each holds Ode to Joy, or less, and one oddity."""

import io
from pathlib import Path

import mido
import numpy as np
import pytest

from jaxaccomp.errors import MelodyError, MidiError
from jaxaccomp.music import melody, midi, smf, stitch
from jaxaccomp.music.midi import Score

CASES = Path(__file__).parent / "cases"
FIELDS = ["start", "end", "pitch", "velocity"]
BAR = 1920
LAST = 15 * BAR + 3 * 480


def read(name: str, **options) -> Score:
    (path,) = CASES.glob(f"{name}*")
    return midi.read(path, **options)


def accompanied(score: Score, keep: str = "melody", track: str | None = None) -> tuple[Score, melody.Choice]:
    """The Score with a bass note and a kick on every beat, written and read again, and its melody."""
    choice = melody.choose(score, track=track)
    found = melody.windows(score, choice)
    tokens = np.zeros((*found.tokens_NL.shape, 2), np.int32)
    tokens[:, ::4] = (20, 1)
    return midi.read(stitch.stitch(score, found, tokens, keep=keep).data, strict=True), choice


def band(result: Score) -> tuple[midi.Track, midi.Track]:
    bass, drums = result.tracks[-2:]
    assert (bass.name, bass.program, drums.name, drums.channel) == ("Bass", 33, "Drums", 9)
    return bass, drums


def original(result: Score) -> list[midi.Track]:
    return list(result.tracks[:-2])


def span(result: Score) -> tuple[int, int]:
    """Ticks at which the band's first and last notes begin."""
    starts = result.notes_of([track.index for track in band(result)])["start"]
    return int(starts.min()), int(starts.max())


def assert_melody_is_whole(score: Score, result: Score, choice: melody.Choice, count: int) -> None:
    before = score.notes_of(choice.tracks)
    kept = [
        t.index
        for t in original(result)
        if (t.chunk, t.name) and t.name in {score.tracks[i].name for i in choice.tracks}
    ]
    after = result.notes_of(kept)
    assert len(before) == count
    np.testing.assert_array_equal(after[FIELDS], before[FIELDS])
    read_back = mido.MidiFile(file=io.BytesIO(result.data))
    struck = sum(m.type == "note_on" and m.velocity > 0 for track in read_back.tracks for m in track)
    assert struck == len(result.notes)


@pytest.mark.parametrize("keep", ["melody", "all"])
@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("02", 60, 0, LAST),
        ("03", 60, 0, LAST),
        ("04", 60, BAR, LAST + BAR),
        ("10", 60, 0, LAST),
        ("11b", 60, 0, LAST + 2 * BAR),
        ("12", 60, 0, LAST),
        ("13", 60, 0, LAST),
        ("14b", 54, 0, 14 * BAR + 3 * 480),
        ("14e", 60, 0, LAST),
        ("15", 60, 0, LAST),
        ("16", 60, 0, LAST),
        ("17", 60, 0, LAST),
        ("18", 60, 0, LAST),
        ("20", 60, 0, LAST),
        ("22b", 15, 2500 * 4 * 30720, 2500 * 4 * 30720 + 15 * 30720),
        ("23b", 60, 0, LAST),
        ("27c", 60, 0, LAST),
        ("36c", 60, 0, 20 * BAR + 3 * 480),
        ("44", 60, 0, LAST),
    ],
)
def test_every_melody_note_comes_out_and_the_band_plays_from_its_first_bar_to_its_last(name, count, first, last, keep):
    score = read(name)
    result, choice = accompanied(score, keep)
    assert_melody_is_whole(score, result, choice, count)
    assert span(result) == (first, last)


def test_a_player_on_several_channels_is_one_track():
    guitar = read("02").tracks[0]
    assert (guitar.name, guitar.channels, guitar.program) == ("Lead Guitar", (0, 1), 30)
    violin = read("03").tracks[0]
    assert (violin.name, violin.channels) == ("Violin", (0, 1))


def test_programs_are_sent_again_after_each_reset():
    score = read("04")
    result, _ = accompanied(score)
    events = result.events
    bass, _ = band(result)
    rows = (events.status == smf.PROGRAM | bass.channel) & (events.first == 33)
    assert events.tick[rows].tolist() == [120]
    reset = events.tick[events.status == 0xF0]
    assert reset.tolist() == [120]


def test_an_idle_channel_that_was_set_up_is_free_and_no_second_port_is_opened():
    result, _ = accompanied(read("44"), "all")
    assert [(t.name, t.channels, t.program) for t in result.tracks] == [
        ("Flute", (0,), 73), ("Strings", (1,), 48), ("Bass", (2,), 33), ("Drums", (9,), 0)
    ]  # fmt: skip
    assert not (result.events.first[result.events.status == smf.META] == smf.PORT).any()
    idle = np.isin(result.events.status[result.events.status < 0xF0] & 15, [0, 1, 2, 9], invert=True)
    assert not idle.any()


@pytest.mark.parametrize(("name", "drums", "tune"), [("05b", 3, 4), ("06", 10, 1)])
@pytest.mark.parametrize("keep", ["melody", "all"])
def test_drums_that_the_file_declares_elsewhere_are_drums(name, drums, tune, keep):
    score = read(name)
    assert {track.channel: track.is_drums for track in score.tracks} == {drums: True, tune: False}
    result, _ = accompanied(score, keep)
    assert [track.channel for track in original(result)] == [tune]
    assert band(result)[0].channel not in (drums, tune)


def test_a_single_drum_is_never_the_melody():
    score = read("07b")
    assert score.tracks[melody.choose(score).track].name == "Guitar 1"
    assert [track.name for track in original(accompanied(score, "all")[0])] == ["Guitar 1"]


def test_basses_and_drums_leave_by_name_and_what_leaves_is_known():
    score = read("08")
    result, choice = accompanied(score, "all")
    assert [track.name for track in original(result)] == ["Lead", "Piano"]
    left = stitch.left_out(score, choice, "all")
    assert [(track.name, track.kind) for track in left] == [("Drums", "drums"), ("Bass", "bass")]


def test_a_program_counts_wherever_it_is_set():
    score = read("09")
    assert [(track.channel, track.program, track.kind) for track in score.tracks] == [
        (0, 33, "bass"), (1, 73, "pitched"), (2, 0, "pitched")
    ]  # fmt: skip
    result, _ = accompanied(score)
    assert [(track.channel, track.program) for track in original(result)] == [(1, 73)]
    controls = (result.events.status & 0xF0) == smf.CONTROL
    assert result.events.second[controls].tolist() == [90, 20]


def test_a_metre_told_late_holds_from_its_bar_line():
    score = read("47")
    grid = melody.windows(score, melody.choose(score)).grid
    bars = grid.start_ticks[grid.opens_bar]
    four, three = BAR, 1440
    expected = [0, four, 2 * four, 3 * four, *(4 * four + three * np.arange(6)), *(8 * four + four * np.arange(4))]
    expected += (12 * four + three * np.arange(6)).tolist()
    assert bars.tolist() == expected
    assert np.diff(read("27c").tempos["tick"]).size == 0
    grid = melody.windows(read("27c"), melody.choose(read("27c"))).grid
    assert grid.start_ticks.tolist() == list(range(0, 16 * BAR, BAR))


def test_notes_without_an_end_get_one_in_the_result():
    for name in ("10", "11b", "12"):
        result, _ = accompanied(read(name))
        assert (result.note_ends >= 0).all()
        assert (result.events.tick[result.note_ends] == result.notes["end"]).all()
    assert read("11b").notes["end"].max() == 18 * BAR
    assert set((read("12").notes["end"] - read("12").notes["start"]).tolist()) == {120}


def test_a_melody_in_two_tracks_is_joined_and_said_so():
    score = read("23b")
    choice = melody.choose(score)
    assert (choice.track, choice.joined) == (0, (1,))
    assert "joined by track 1 'Vocals 2'" in choice.reason
    assert melody.choose(score, track="Vocals 2,Vocals 1").tracks == (0, 1)
    assert melody.choose(score, track="1, Piano").tracks == (1, 2)
    assert melody.choose(score, track="1").tracks == (1,)
    with pytest.raises(MelodyError, match="no track is called 'Flute'"):
        melody.choose(score, track="1,Flute")


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("13", "bad-event", ["track 1: 1 data byte above 127 lowered to 127"]),
        ("14b", "truncated", ["track 1: cut at byte 540", "its length of 554 bytes taken for 491"]),
        ("14e", "truncated", ["track 1: its length of 558 bytes taken for 554"]),
        ("16", "truncated", ["8 bytes at 41 that belong to no chunk passed over"]),
        ("32", "smpte-division", ["read on a grid of 120 beats a minute"]),
    ],
)
def test_damage_is_mended_and_told_or_refused_when_strict(name, reason, told):
    repaired = read(name).repaired
    assert all(any(part in sentence for sentence in repaired) for part in told)
    with pytest.raises(MidiError) as caught:
        read(name, strict=True)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["15", "17", "02", "20"])
def test_what_is_no_damage_is_not_called_so(name):
    assert read(name, strict=True).repaired == ()


def test_film_frames_become_quarters_of_half_a_second():
    score = read("32")
    assert (score.ticks_per_quarter, score.tempos.tolist()) == (500, [(0, 500_000)])
    result, choice = accompanied(score)
    assert_melody_is_whole(score, result, choice, 60)
    assert span(result) == (0, 31_500)


def test_names_are_readable_in_whichever_encoding():
    score = read("20")
    assert [track.name for track in score.tracks] == ["主旋律メロディ", "伴奏"]
    assert melody.choose(score).track == 0
    assert melody.choose(score, track="メロディ").track == 0


def test_a_melody_on_the_drum_channel_is_taken_at_the_users_word_and_moved_to_where_it_sounds():
    score = read("29")
    with pytest.raises(MelodyError, match="only drums"):
        melody.choose(score)
    result, choice = accompanied(score, track="0")
    assert_melody_is_whole(score, result, choice, 60)
    assert [(track.channel, track.is_drums) for track in original(result)] == [(0, False)]


def test_other_kinds_of_files_are_called_by_their_name():
    for name, words in (("19_gz", "is a gzip archive; unpack it"),):
        with pytest.raises(MidiError, match=words) as caught:
            read(name)
        assert caught.value.reason == "not-midi"
