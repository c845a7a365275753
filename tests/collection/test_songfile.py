import errno
import os

import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.collection import songfile
from jaxaccomp.collection.songfile import ReadSong, SongSettings, Verdict, Written
from jaxaccomp.music import midi


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "out" / ".staging").mkdir(parents=True)
    return SongSettings(tmp_path / "out", tmp_path / "out" / ".staging")


@pytest.fixture
def heard(settings):
    song = songfile.read(str(_path()), "a", settings, None)
    assert isinstance(song, ReadSong)
    return song


def _path():
    return demos.path(demos.names()[0])


def _write(heard, outputs, settings):
    tokens_NLP = np.zeros((*heard.melody_NL.shape, 2), np.int16)
    return songfile.write(str(_path()), heard.sha256, heard.choice, tokens_NLP, outputs, settings)


def test_a_song_is_heard_and_written_to_all_its_places(heard, settings):
    assert heard.facts["bars"] <= 16 * heard.facts["windows"] + 1
    assert songfile.read(str(_path()), "a", settings, heard.sha256) == songfile.UNCHANGED
    written = _write(heard, ["a.mid", "b/c.mid"], settings)
    assert isinstance(written, Written)
    assert written.verdicts == [None, None]
    assert midi.read(settings.out / "a.mid") == midi.read(settings.out / "b" / "c.mid")
    copied = songfile.copy("a.mid", heard.sha256, ["d.mid"], settings)
    assert copied.verdicts == [None]
    assert midi.read(settings.out / "a.mid") == midi.read(settings.out / "d.mid")
    assert not list(settings.staging.iterdir())


def test_shares_are_disjoint_and_complete(settings, tmp_path):
    wreck = tmp_path / "wreck.mid"
    wreck.symlink_to("nowhere")
    for path in (_path(), wreck):
        answers = [
            songfile.read(str(path), "a", SongSettings(settings.out, settings.staging, share=(i, 5)), None)
            for i in range(5)
        ]
        assert sum(answer is not None for answer in answers) == 1


def test_a_file_that_changes_meanwhile_is_not_mixed_up(heard, settings, tmp_path):
    other = tmp_path / "other.mid"
    other.write_bytes(demos.path(demos.names()[1]).read_bytes())
    tokens_NLP = np.zeros((*heard.melody_NL.shape, 2), np.int16)
    verdict = songfile.write(str(other), heard.sha256, heard.choice, tokens_NLP, ["a.mid"], settings)
    assert verdict.code == "changed"
    assert not (settings.out / "a.mid").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["os.replace", "shutil.copyfile"])
def test_a_full_disk_is_told_apart(heard, settings, monkeypatch, number, call):
    def full(*args, **kwargs):
        raise OSError(number, os.strerror(number), "out/x.mid")

    monkeypatch.setattr(call, full)
    result = _write(heard, ["a.mid", "b.mid"], settings)
    verdict = result if isinstance(result, Verdict) else result.verdicts[0]
    assert verdict.code == songfile.DISK_FULL
    assert os.strerror(number) in verdict.reason
    assert "same command" in verdict.reason


def test_an_output_folder_without_permission_costs_that_song(heard, settings):
    (settings.out / "b").write_text("a file where a folder should be")
    result = _write(heard, ["a.mid", "b/c.mid"], settings)
    assert [verdict and verdict.code for verdict in result.verdicts] == [None, "unwritable"]


def test_of_many_songs_the_first_one_is_read_by_machine_code_already(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(songfile.interpreter, "use_machine_code", lambda: asked.append(None))
    for are_many in (False, True):
        songfile.read(str(tmp_path / "none.mid"), "a", SongSettings(tmp_path, tmp_path, are_many=are_many), None)
        assert len(asked) == are_many
