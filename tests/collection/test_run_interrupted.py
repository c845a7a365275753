"""A run that is killed, loses its workers or its disk, ends as the run that was left alone."""

import contextlib
import random
import signal
import subprocess
import time

import psutil
import pytest
from collection_runs import run, state

from jaxaccomp.collection import manifest
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.songfile import DISK_FULL, Verdict
from jaxaccomp.errors import CollectionError


def workers_of(process):
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it may end while one looks
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_nothing(folder, run_command, straight, tmp_path):
    rng = random.Random(1)
    out, lived = tmp_path / "out", 0
    for attempt in range(4):
        process = run_command(folder, out)
        lines, deadline_s = rng.randrange(8 * attempt, 8 * attempt + 4) - 4, time.monotonic() + 240
        book = out / manifest.NAME
        while process.poll() is None and time.monotonic() < deadline_s:
            if book.is_file() and book.read_bytes().count(b"\n") > lines:
                time.sleep(rng.random() * 0.05)
                break
            time.sleep(0.002)
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        lived += process.wait() == -signal.SIGKILL
        _, alive = psutil.wait_procs(workers, timeout=120)  # those that still start see it when they have
        assert not alive, "workers end with the run"
    assert lived >= 2
    assert run_command(folder, out).wait() == 0
    assert state(out) == state(straight[0])
    assert not list(out.glob(".staging*"))


@pytest.mark.slow
def test_workers_killed_at_any_moment_cost_nothing(folder, run_command, straight, tmp_path):
    process = run_command(folder, tmp_path, stdout=subprocess.PIPE, text=True)
    rng, killed = random.Random(2), 0
    while process.poll() is None and killed < 4:
        workers = workers_of(process)
        if len(workers) == 2:
            rng.choice(workers).kill()
            killed += 1
        time.sleep(0.2 + rng.random() * 0.2)
    text, _ = process.communicate()
    assert process.returncode == 0
    assert killed >= 2
    assert "worker processes died" in text
    assert run_command(folder, tmp_path).wait() == 0
    assert state(tmp_path) == state(straight[0])


@pytest.mark.slow
def test_a_full_disk_ends_with_a_sentence_and_resumes(folder, model, straight, tmp_path, monkeypatch):
    out = tmp_path / "out"
    full = collection.Workers

    class DiskFullAfterThree(full):
        written = 0

        def results(self, *args, **kwargs):
            for job, result in super().results(*args, **kwargs):
                if job.function.__name__ == "write":
                    type(self).written += 1
                    if self.written > 3:
                        result = Verdict("failed", DISK_FULL, "out: No space left on device; free")
                yield job, result

    monkeypatch.setattr(collection, "Workers", DiskFullAfterThree)
    with pytest.raises(CollectionError, match="No space left"):
        run(folder, model, out)
    monkeypatch.undo()
    run(folder, model, out)
    assert state(out) == state(straight[0])
