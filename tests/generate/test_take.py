import numpy as np
import pytest

from jaxaccomp.errors import MidiError
from jaxaccomp.generate.take import Accompaniment, contents
from jaxaccomp.music import melody, midi
from jaxaccomp.music.midi import NOTE, Part, Score


def notes(*rows):
    array = np.zeros(len(rows), NOTE)
    for row, (start, end, pitch) in zip(array, rows, strict=True):
        row["start"], row["end"], row["pitch"], row["velocity"] = start, end, pitch, 90
    return array


LEAD = Part("Lead", 0, 73, notes((0, 480, 72), (480, 1920, 74)))
ORIGINAL = Score.build(480, [Part("Pad", 2, 89, notes((0, 1920, 60))), LEAD], source="folder/song.mid")


def take(pitch=36, variation=0, z=0.0):
    score = Score.build(480, [LEAD, Part("Bass", 1, 33, notes((0, 1920, pitch)))], source="folder/song.mid")
    windows = np.full((1, 256, 3), pitch, np.int32)
    choice = melody.Choice(1, "called 'Lead'")
    latent = np.full((1, 4), z, np.float32)
    return Accompaniment(score, latent, windows, choice, variation, {"coverage": 0.5}, ORIGINAL)


def test_one_line_says_what_it_is():
    assert repr(take(variation=2)) == "Accompaniment(take 3 of 'song', 1 window, coverage 0.50)"
    assert repr(ORIGINAL) == "Score('folder/song.mid', 2 tracks, 3 notes)"
    assert repr(Score(b"MThd")) == "Score('<score>', 4 bytes)"


def test_takes_can_be_compared_and_counted():
    assert take() == take()
    assert take() != take(pitch=38)
    assert take() != take(z=1.0)
    assert take() != "a take"
    assert len({take(), take(), take(38), take(variation=1)}) == 3


def test_the_melody_is_found_under_its_new_number():
    assert take().melody.track == 1
    assert take().melody_tracks == (0,)


def test_a_take_writes_draws_and_plays_itself(tmp_path):
    one = take()
    assert one.write(tmp_path / "a.mid") == tmp_path / "a.mid"
    assert midi.read(tmp_path / "a.mid") == one.score
    picture = one.plot(tmp_path / "a.png", with_original=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert picture._repr_png_().startswith(b"\x89PNG")
    clip = one.audio(tmp_path / "a.mp3")
    assert (tmp_path / "a.mp3").stat().st_size > 10_000
    assert clip.samples.shape[1] == 2
    with pytest.raises(MidiError, match="cannot be written"):
        one.write(tmp_path / "lost" / "a.mid")


def test_a_take_is_a_player_in_notebooks_and_a_page_elsewhere(tmp_path):
    one = take()
    assert one._repr_html_().startswith('<iframe sandbox="allow-scripts allow-downloads"')
    text = one.page(tmp_path / "a.html").read_text()
    assert '"name":"Original"' in text
    assert '"name":"Take 1"' in text


def test_a_page_tells_takes_files_and_settings():
    shown = contents([take(), take(38, 1)], ["a.mid", "a.take2.mid"], title="A", settings={"Seed": "7"}, command="run")
    assert [version.name for version in shown.takes] == ["Take 1", "Take 2"]
    assert [version.file for version in shown.takes] == ["a.mid", "a.take2.mid"]
    assert [version.melody for version in shown.takes] == [(0,), (0,)]
    assert shown.original.score == ORIGINAL
    assert (shown.title, shown.settings, shown.command) == ("A", {"Seed": "7"}, "run")
