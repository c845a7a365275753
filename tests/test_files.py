"""Files are whole or not there; a search finds every song once."""

import os
from pathlib import Path

import pytest

from jaxaccomp import files


def test_replacing_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_leaves_nothing_behind_when_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), files.replacing(path) as temporary:  # noqa: PT012 — the block is what fails
        temporary.write_text("half")
        raise OSError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_path_keeps_the_ending_and_fits_where_the_name_fits(tmp_path):
    path = tmp_path / ("🎵" * 62 + ".mid")  # 252 bytes
    path.touch()
    temporary = files.temporary_path(path)
    temporary.touch()
    assert temporary.suffix == ".mid"
    assert temporary != path


def test_find_midi_lists_every_ending_once_and_follows_links_without_circles(tmp_path):
    for name in ("a.mid", "b/c.MIDI", "b/d.Rmi", "b/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "back").symlink_to(tmp_path)
    (tmp_path / "nowhere.mid").symlink_to("gone")
    found = {os.path.relpath(path, tmp_path): status for path, status in files.find_midi(tmp_path)}
    assert set(found) == {"a.mid", "b/c.MIDI", "b/d.Rmi", "nowhere.mid"}
    assert [name for name, status in found.items() if status is None] == ["nowhere.mid"]


def test_find_midi_passes_over_the_folder_left_out_under_any_name(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mid").touch()
    (tmp_path / "other").symlink_to("out")
    assert list(files.find_midi(tmp_path, left_out=tmp_path / "out")) == []


def test_the_cache_folder_follows_the_platform(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert files.cache_folder() == Path("/somewhere/jaxaccomp")
    monkeypatch.setattr("sys.platform", "darwin")
    assert files.cache_folder() == Path.home() / "Library" / "Caches" / "jaxaccomp"
