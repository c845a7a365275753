"""What must come out the same: any number of devices and processes, accumulation, death and resurrection."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import runner

from jaxaccomp.errors import TrainingError
from jaxaccomp.training import loop, metrics_log

HERE = Path(__file__).parent


def losses(workdir: Path) -> list[float]:
    """Of each step, in order, each step once."""
    lines = [line for line in metrics_log.read(workdir / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def final_state(workdir: Path, step: int = 20):
    """Arrays of the last snapshot."""
    return ocp.StandardCheckpointer().restore((workdir / "snapshots" / str(step) / "state").absolute())


def assert_equal(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    jax.tree.map(np.testing.assert_array_equal, final_state(one), final_state(other))


def start(*arguments: object, devices: int = 2, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "runner.py"), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def straight_of(windows_folder, tmp_path_factory):
    """By objective: 20 steps on 2 devices, without a break."""

    @functools.cache
    def run(objective: str) -> Path:
        workdir = tmp_path_factory.mktemp("straight")
        outcome = runner.run(windows_folder, workdir, objective=objective)
        assert outcome.step == 20
        assert not outcome.stopped
        return workdir

    return run


@pytest.fixture
def straight(straight_of) -> Path:
    """Of MusicVAE alone."""
    return straight_of("vae")


of_each_objective = pytest.mark.parametrize("objective", ["vae", "joint"])


@pytest.mark.slow
def test_it_learns(windows_folder, tmp_path):
    runner.run(windows_folder, tmp_path, steps=40)
    assert np.mean(losses(tmp_path)[-3:]) < 0.9 * np.mean(losses(tmp_path)[:3])


def test_it_tells(straight):
    (validation,) = [line for line in metrics_log.read(straight / "metrics.jsonl") if "validation" in line]
    parts = sum(validation[f"validation_nll_{part}"] for part in ("melody", "bass", "drums"))
    assert validation["validation"] == pytest.approx(parts, rel=1e-5)
    assert {"validation_latent_worth", "validation_kl_bits", "validation_onset_accuracy_drums"} <= set(validation)
    assert list((straight / "tensorboard").iterdir())


@pytest.mark.slow
@of_each_objective
def test_one_device_is_two(objective, straight_of, windows_folder, tmp_path):
    runner.run(windows_folder, tmp_path, devices=1, objective=objective)
    np.testing.assert_allclose(losses(tmp_path), losses(straight_of(objective)), rtol=1e-5)
    one, two = (
        next(line for line in metrics_log.read(workdir / "metrics.jsonl") if "validation" in line)
        for workdir in (tmp_path, straight_of(objective))
    )
    assert one["validation"] == pytest.approx(two["validation"], rel=1e-5)


@pytest.mark.slow
def test_one_device_is_two_with_every_variation_of_joint_windows(windows_folder, tmp_path):
    varied = {"drum_windows": 0.3, "bass_octave": 0.3, "half_time": 0.2, "steps": 6}
    for devices in (1, 2):
        runner.run(windows_folder, tmp_path / str(devices), devices=devices, objective="joint", **varied)
    np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / "2"), rtol=1e-5)


@pytest.mark.slow
def test_four_times_sixteen_is_sixty_four(windows_folder, tmp_path):
    for name, accumulation in (("whole", 1), ("parts", 4)):
        runner.run(windows_folder, tmp_path / name, steps=4, devices=1, batch_size=64, accumulation=accumulation)
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-5)


@pytest.mark.slow
def test_killed_and_resumed_is_straight_bit_for_bit(straight, windows_folder, tmp_path):
    """SIGKILL at step 13, maybe in the middle of a save; the same command then ends where the straight run did."""
    with start(windows_folder, tmp_path, 20, 2, 13) as dying:
        _, said = dying.communicate(timeout=500)
    assert dying.returncode == -signal.SIGKILL, said
    assert len(losses(tmp_path)) < 20
    runner.run(windows_folder, tmp_path)
    assert_equal(tmp_path, straight)


@pytest.mark.slow
def test_eight_devices_resume_on_one(straight, windows_folder, tmp_path):
    with start(windows_folder, tmp_path, 10, 8, devices=8) as eight:
        _, said = eight.communicate(timeout=500)
    assert eight.returncode == 0, said
    runner.run(windows_folder, tmp_path, devices=1)
    np.testing.assert_allclose(losses(tmp_path), losses(straight), rtol=1e-5)


@pytest.mark.slow
@of_each_objective
def test_two_processes_of_four_devices_are_one_of_two(objective, straight_of, windows_folder, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        start(
            *(windows_folder, tmp_path, 20, 8, 0, objective),
            devices=4,
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=500)
        assert process.returncode == 0, said
    np.testing.assert_allclose(losses(tmp_path), losses(straight_of(objective)), rtol=1e-5)


@pytest.mark.slow
@of_each_objective
def test_sigterm_saves_and_resumes(objective, straight_of, windows_folder, tmp_path, monkeypatch):
    advance = metrics_log.MetricsLog.advance

    def interrupted(self, step):
        advance(self, step)
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(metrics_log.MetricsLog, "advance", interrupted)
        outcome = runner.run(windows_folder, tmp_path, objective=objective)
    assert outcome.stopped
    assert (
        outcome.step == len(losses(tmp_path)) == 10
    )  # told while step 8 ran: 9 carries the wish, which is read while 10 runs
    assert not runner.run(windows_folder, tmp_path, objective=objective).stopped
    assert_equal(tmp_path, straight_of(objective))


def test_nan_stops_with_step_and_windows(windows_folder, tmp_path):
    with pytest.raises(TrainingError, match=r"loss of step \d+ is (nan|inf).*rows \[\d+, .*\] of the training split"):
        runner.run(windows_folder, tmp_path, learning_rate=1e30, slow_learning_rate=1e30)


def test_a_batch_that_does_not_divide_is_refused(windows_folder, tmp_path):
    with pytest.raises(TrainingError, match="15 windows does not divide into 2 devices"):
        runner.run(windows_folder, tmp_path, batch_size=15)


def test_replicas_come_back_as_they_were():
    tree = {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3), "step": np.asarray(3)}
    copies = loop.replicate(tree, jax.devices())
    assert copies["kernel"].shape == (2, 2, 3)
    jax.tree.map(np.testing.assert_array_equal, loop.first_replica(copies), tree)


def test_a_half_written_line_is_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert metrics_log.read(path) == [{"step": 1, "loss": 2.0}]
