"""One writer at a time on a bucket, told apart by what the bucket itself decides."""

import json
import subprocess
import sys
import time

import emulators
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jaxaccomp import leases, remote
from jaxaccomp.errors import TrainingError

KINDS = {"gs": emulators.gcs, "s3": emulators.s3}
ELSEWHERE = {"host": "another", "machine": "another/1", "process": 1, "run": "another"}


@pytest.fixture(params=KINDS)
def folder(request, monkeypatch):
    """A folder of a bucket, and leases that are renewed and grow old in a moment."""
    monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.2)
    monkeypatch.setattr(leases, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(leases, "SILENT_S", 2.0)
    with KINDS[request.param]() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f"{request.param}://{emulators.BUCKET}/{request.node.name.split('[')[0]}"


def test_the_second_writer_is_refused_and_nothing_stays_behind(folder, monkeypatch, capsys):
    monkeypatch.setattr(leases, "SILENT_S", 60.0)  # on a busy machine the first one must not seem gone: it would end
    with leases.held(folder, TrainingError):
        with (
            pytest.raises(TrainingError, match=r"another run is writing there \(.*, process \d+\); wait for it to end"),
            leases.held(folder, TrainingError),
        ):
            pass
        assert remote.read_text(f"{folder}/{leases.NAME}") is not None
    assert "seeing for up to 60 s if it is still there" in capsys.readouterr().err
    assert remote.listing(folder) == {}


def test_what_a_killed_writer_left_counts_no_more_once_it_is_silent(folder, capsys):
    remote.write_text(f"{folder}/{leases.NAME}", json.dumps(ELSEWHERE))
    start_s = time.monotonic()
    with leases.held(folder, TrainingError):
        assert time.monotonic() - start_s > 2
        assert json.loads(remote.read_text(f"{folder}/{leases.NAME}"))["run"] != "another"
    assert "a run on another, process 1 was writing there" in capsys.readouterr().err


def test_a_writer_that_died_on_this_machine_is_known_to_be_gone(folder, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    left = ELSEWHERE | {"machine": leases._machine(), "process": dead.pid}
    remote.write_text(f"{folder}/{leases.NAME}", json.dumps(left))
    with leases.held(folder, TrainingError):
        assert json.loads(remote.read_text(f"{folder}/{leases.NAME}"))["run"] != "another"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("folder", ["gs"], indirect=True)
def test_a_writer_that_lost_the_folder_ends(folder, monkeypatch, capfd):
    ends = []
    monkeypatch.setattr(leases.os, "_exit", ends.append)
    with leases.held(folder, TrainingError):
        remote.write_text(f"{folder}/{leases.NAME}", json.dumps(ELSEWHERE))
        deadline_s = time.monotonic() + 60
        while not ends and time.monotonic() < deadline_s:
            time.sleep(0.05)
    assert ends[0] == 1
    assert "a run on another has taken this folder; ended here without writing" in capfd.readouterr().err


def test_a_service_that_knows_no_conditions_is_asked_first_whether_a_file_is_there(monkeypatch):
    class Plain(MemoryFileSystem):
        store, pseudo_dirs, cachable = {}, [""], False

        def pipe_file(self, path, value, mode="overwrite", **_):
            if mode == "create":
                raise NotImplementedError("A header you provided implies functionality that is not implemented")
            super().pipe_file(path, value)

    system = Plain()
    monkeypatch.setattr(remote, "_system", lambda url: (system, "/bucket/file"))
    assert remote.create_text("s3://bucket/file", "one")
    assert not remote.create_text("s3://bucket/file", "two")
    assert remote.read_text("s3://bucket/file") == "one"


def test_folders_of_this_machine_need_none(tmp_path):
    with leases.held(tmp_path, TrainingError):
        assert list(tmp_path.iterdir()) == []
