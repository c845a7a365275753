"""One writer at a time; what a refusal says, and what stays behind: nothing."""

import os
import signal
import subprocess
import sys

import pytest

from jaxaccomp import locks
from jaxaccomp.errors import CollectionError, TrainingError

_HOLDER = """
import sys, time
from pathlib import Path
from jaxaccomp import locks
from jaxaccomp.errors import TrainingError
with locks.locked(Path(sys.argv[1]), TrainingError):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_nothing_stays(tmp_path):
    with locks.locked(tmp_path / "run", TrainingError):
        (tmp_path / "run" / "result").touch()
        with (
            pytest.raises(CollectionError, match="run: another run is writing there; wait for it to end"),
            locks.locked(tmp_path / "run", CollectionError),
        ):
            pass
    assert os.listdir(tmp_path / "run") == ["result"]
    with locks.locked(tmp_path / "run", TrainingError):
        pass


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with locks.locked(tmp_path / "a" / "b", TrainingError):
        pass
    assert not (tmp_path / "a").exists()


def test_a_killed_writer_holds_nothing(tmp_path):
    command = [sys.executable, "-c", _HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError), locks.locked(tmp_path / "run", TrainingError):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locks.locked(tmp_path / "run", TrainingError):
        pass
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_place_that_cannot_be_a_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(TrainingError, match=r"cannot be written .*choose another folder"),
        locks.locked(tmp_path / "file" / "run", TrainingError),
    ):
        pass
