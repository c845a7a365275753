import os

import pytest

from jaxaccomp.collection import inputs
from jaxaccomp.errors import CollectionError, UsageError


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def _outputs(songs):
    return {name: songs.output(name) for name in songs.names}


def test_songs_are_found_by_suffix_at_any_depth(tmp_path):
    deep = "d/" * 600 + "x.mid"
    folder = tmp_path / "songs"
    _touch(folder, "a.mid", "b/c.MIDI", "b/.hidden/d.Rmi", "b/no.txt", "mid", deep)
    os.makedirs(folder / "folder.mid")
    _touch(folder, "folder.mid/inside.mid")
    os.symlink("nowhere", folder / "dangling.mid")
    found = inputs.find([folder], tmp_path / "out")
    assert found.names == sorted(
        ["a.mid", "b/c.MIDI", "b/.hidden/d.Rmi", "folder.mid", "folder.mid/inside.mid", "dangling.mid", deep]
    )
    assert found.path("b/c.MIDI").read_bytes() == b"b/c.MIDI"


def test_links_are_followed_but_never_round_in_circles(tmp_path):
    folder, elsewhere = tmp_path / "songs", tmp_path / "elsewhere"
    _touch(folder, "a.mid")
    _touch(elsewhere, "b.mid")
    os.symlink(elsewhere, folder / "out-of-here")
    os.symlink(folder, folder / "round")
    os.symlink(folder, elsewhere / "back")
    assert inputs.find([folder], tmp_path / "out").names == ["a.mid", "out-of-here/b.mid"]


def test_results_inside_the_folder_are_no_songs(tmp_path):
    _touch(tmp_path, "a.mid", "out/a.mid", "out/manifest.jsonl")
    assert inputs.find([tmp_path], tmp_path / "out").names == ["a.mid"]


def test_no_two_songs_share_a_result(tmp_path):
    names = ["a.mid", "a.MID", "a.midi", "a.MID.mid", "b.midi", "b.MID", "c.MIDI", "d.midi", "d.mid/e.mid", "f.mid"]
    _touch(tmp_path, *names)
    found = inputs.find([tmp_path], tmp_path / "out")
    outputs = _outputs(found)
    assert set(outputs) == {*names, "d.mid"}
    assert outputs["a.mid"] == "a.mid"
    assert outputs["a.MID.mid"] == "a.MID.mid"
    assert outputs["c.MIDI"] == "c.mid"
    assert outputs["d.midi"] == "d.midi.mid", "d.mid is a folder of results"
    assert len(set(outputs.values())) == len(outputs)
    assert all(output.endswith(".mid") for output in outputs.values())


def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9-\xff.mid")
    (tmp_path / name).write_bytes(b"x")
    found = inputs.find([tmp_path], tmp_path / "out")
    assert found.names == [name]
    assert found.output(name) == name


def test_several_inputs_are_named_from_their_common_folder(tmp_path):
    _touch(tmp_path, "x/a.mid", "x/b.txt", "y/a.mid")
    found = inputs.find([tmp_path / "x" / "a.mid", tmp_path / "x" / "b.txt"], tmp_path / "out")
    assert found.names == ["a.mid", "b.txt"]
    assert found.named == {"a.mid", "b.txt"}
    assert _outputs(found) == {"a.mid": "a.mid", "b.txt": "b.txt.mid"}
    found = inputs.find([tmp_path / "x", tmp_path / "y", tmp_path / "x" / "a.mid"], tmp_path / "out")
    assert found.names == ["x/a.mid", "y/a.mid"]


def test_a_file_that_is_not_there_is_a_song_like_the_others(tmp_path):
    _touch(tmp_path, "a.mid")
    found = inputs.find([tmp_path / "a.mid", tmp_path / "none.mid"], tmp_path / "out")
    assert found.names == ["a.mid", "none.mid"]
    assert found.named == {"a.mid", "none.mid"}


def test_refusals(tmp_path):
    _touch(tmp_path, "songs/a.mid", "empty/readme.txt")
    with pytest.raises(CollectionError, match="no song found"):
        inputs.find([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UsageError, match="same folder"):
        inputs.find([tmp_path / "songs"], tmp_path / "songs")
    with pytest.raises(UsageError, match="overwrite"):
        inputs.find([tmp_path / "songs" / "a.mid"], tmp_path / "songs")
    os.symlink(tmp_path / "songs" / "a.mid", tmp_path / "empty" / "a.mid")
    with pytest.raises(UsageError, match="overwrite"):
        inputs.find([tmp_path / "empty"], tmp_path / "songs")
