"""Runs of several processes, started as on a Cloud TPU slice: they meet, stop, resume and fail together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import emulators
import numpy as np
import pytest

from jaxaccomp.training import metrics_log

pytestmark = pytest.mark.slow
WORKER = Path(__file__).parents[1] / "tpu_worker.py"
MODEL = ["--encoder-sizes", "4", "--conductor-sizes", "5", "--decoder-sizes", "6", "--latent-size", "3"]
RUN = ["--batch-size", "16", "--log-every", "1", "--checkpoint-every", "4", "--evaluate-windows", "16", "--warmup", "2"]
DEVICES = 8


def command(data: Path, workdir: Path, steps: int) -> list[str]:
    return ["train", "vae", "--data", str(data), "--workdir", str(workdir), *MODEL, *RUN, "--steps", str(steps)]


@contextmanager
def started(count: int, arguments: Sequence[str]):
    """The workers of a slice, each with its share of the devices."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // count}"}
    workers: list[subprocess.Popen] = []
    try:
        with emulators.tpu_metadata(count) as environments:
            workers += [
                subprocess.Popen(
                    [sys.executable, str(WORKER), *arguments],
                    env={**emulators.plain_environment(), **environment, **flags},
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for environment in environments
            ]
            yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def ended(workers: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit code and what was said, of each."""
    said = [worker.communicate(timeout=500)[1] for worker in workers]
    assert not any("Traceback" in text for text in said), said
    return list(zip([worker.returncode for worker in workers], said, strict=True))


def await_steps(workdir: Path, workers: Sequence[subprocess.Popen], steps: int) -> None:
    """Waits until so many steps are told."""
    deadline = time.monotonic() + 500
    while len(losses(workdir)) < steps:
        assert time.monotonic() < deadline
        assert all(worker.poll() is None for worker in workers), [worker.communicate() for worker in workers]
        time.sleep(0.05)


def losses(workdir: Path) -> list[float]:
    return [line["loss"] for line in metrics_log.read(workdir / "metrics.jsonl") if "loss" in line]


def stopped_at(said: str) -> int:
    return int(re.search(r"told to stop after step (\d+) of \d+; the state is saved", said)[1])


@pytest.fixture(scope="module")
def alone(windows_folder, tmp_path_factory) -> Path:
    """8 steps on 8 devices of one process."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    with started(1, command(windows_folder, workdir, 8)) as workers:
        ((code, said),) = ended(workers)
    assert code == 0, said
    return workdir


def test_four_processes_are_one_told_to_stop_and_resumed(alone, windows_folder, tmp_path):
    """4 × 2 devices, SIGTERM to all of them; the same command ends where one process of 8 devices does."""
    workdir = tmp_path / "run"
    with started(4, command(windows_folder, workdir, 8)) as workers:
        await_steps(workdir, workers, 3)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        ends = ended(workers)
    assert [code for code, _ in ends] == [1] * 4
    (step,) = {stopped_at(said) for _, said in ends}
    assert (workdir / "snapshots" / str(step)).is_dir()
    with started(4, command(windows_folder, workdir, 8)) as workers:
        ends = ended(workers)
    assert [code for code, _ in ends] == [0] * 4, ends
    assert f"resuming from step {step}" in ends[0][1]
    assert "MiB a device and step" in ends[0][1]
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-5)


def test_ctrl_c_to_one_of_two_stops_both_at_one_step(windows_folder, tmp_path):
    workdir = tmp_path / "run"
    with started(2, command(windows_folder, workdir, 10_000)) as workers:
        await_steps(workdir, workers, 2)
        workers[1].send_signal(signal.SIGINT)
        ends = ended(workers)
    assert [code for code, _ in ends] == [1, 1]
    (step,) = {stopped_at(said) for _, said in ends}
    assert losses(workdir)[-1] > 0
    assert len(losses(workdir)) == step
    assert (workdir / "snapshots" / str(step)).is_dir()
    assert not (workdir / ".lock").exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_within_a_minute(victim, windows_folder, tmp_path):
    workdir = tmp_path / "run"
    with started(2, command(windows_folder, workdir, 10_000)) as workers:
        await_steps(workdir, workers, 2)
        workers[victim].kill()
        start_s = time.monotonic()
        _, said = workers[1 - victim].communicate(timeout=60)
        assert time.monotonic() - start_s < 60
    assert workers[1 - victim].returncode == 1
    assert "Traceback" not in said
    assert re.search(r"of this run has (ended|given no sign of life)", said.strip().splitlines()[-1]), said
    assert "start the same command again on all of them" in said


def test_a_process_that_hangs_ends_the_other_within_a_minute(windows_folder, tmp_path):
    workdir = tmp_path / "run"
    with started(2, command(windows_folder, workdir, 10_000)) as workers:
        await_steps(workdir, workers, 2)
        workers[1].send_signal(signal.SIGSTOP)
        _, said = workers[0].communicate(timeout=60)
    assert workers[0].returncode == 1
    assert "process 1 of this run has given no sign of life for 30 s" in said.strip().splitlines()[-1]


def test_a_second_signal_ends_at_once(windows_folder, tmp_path):
    workdir = tmp_path / "run"
    with started(1, command(windows_folder, workdir, 10_000)) as (worker,):
        await_steps(workdir, [worker], 2)
        worker.send_signal(signal.SIGSTOP)  # both arrive before a step can end
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        worker.send_signal(signal.SIGCONT)
        _, said = worker.communicate(timeout=60)
    assert worker.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert "the second signal: ended at once; the last saved state stays" in said


def test_hosts_with_folders_of_their_own_are_refused(windows_folder, tmp_path):
    """One host has a state of the run, the other has none: neither may go on."""
    with started(1, command(windows_folder, tmp_path / "0", 4)) as workers:
        assert ended(workers)[0][0] == 0
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // 2}"}
    with emulators.tpu_metadata(2) as environments:
        hosts = [
            subprocess.Popen(
                [sys.executable, str(WORKER), *command(windows_folder, tmp_path / str(number), 8)],
                env={**emulators.plain_environment(), **environment, **flags},
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, environment in enumerate(environments)
        ]
        ends = ended(hosts)
    for code, said in ends:
        assert code == 1
        assert re.search(
            r"process 1 on \S+ has the last saved step null, process 0 on \S+ has 4: all processes must see the same",
            said,
        ), said
    assert json.loads((tmp_path / "0" / "config.json").read_text())["steps"] in (4, 8)
    assert not os.path.exists(tmp_path / "1" / "snapshots")
