"""Data, checkpoints and runs on buckets: killed and resumed, they end with the bytes of a run on this machine."""

import subprocess
import sys
import time
from pathlib import Path

import emulators
import pytest

from jaxaccomp import cli, remote
from jaxaccomp.data import latents
from jaxaccomp.training import metrics_log
from jaxaccomp.weights import checkpoint

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
MODEL = ["--encoder-sizes", "4", "--conductor-sizes", "5", "--decoder-sizes", "6", "--latent-size", "3"]
RUN = ["--batch-size", "8", "--log-every", "1", "--evaluate-windows", "8", "--checkpoint-every", "3", "--warmup", "2"]
STEPS = 12
KINDS = {"gs": emulators.gcs, "s3": emulators.s3}


@pytest.fixture(params=KINDS)
def bucket(request, tmp_path, monkeypatch):
    """A folder of a bucket, and a cache of its own."""
    with KINDS[request.param]() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        # A folder of its own: orbax's client remembers listings, also those of the emulator before.
        yield f"{request.param}://{emulators.BUCKET}/{request.node.name.split('[')[0]}"


@pytest.fixture(scope="module")
def musicvae(windows_folder, tmp_path_factory) -> Path:
    """A MusicVAE to make latents with, on this machine."""
    workdir = tmp_path_factory.mktemp("vae") / "run"
    command = ["vae", "--data", str(windows_folder), "--workdir", str(workdir), *MODEL, *RUN, "--steps", "1"]
    assert cli.train(command) == 0
    return workdir / "checkpoint"


def surrogate(data: object, base: object, workdir: object) -> list[str]:
    command = ["surrogate", "--data", str(data), "--checkpoint", str(base), "--workdir", str(workdir)]
    return [*command, *RUN, "--steps", str(STEPS), "--decoder-from", "0.2"]


def killed_at(step: int, workdir: str, processes: int, cache: Path, command: list[str]) -> None:
    """Starts the run on an empty machine, and kills all its processes once the bucket has told of a step."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={2 // processes}", "XDG_CACHE_HOME": str(cache)}
    with emulators.tpu_metadata(processes) as environments:
        workers = [
            subprocess.Popen(
                [sys.executable, str(HERE.parent / "tpu_worker.py"), "train", *command],
                env={**emulators.plain_environment(), **environment, **flags},
                stderr=subprocess.DEVNULL,
            )
            for environment in environments
        ]
        try:
            deadline = time.monotonic() + 500
            while f'"step": {step},' not in (remote.read_text(f"{workdir}/metrics.jsonl") or ""):
                assert all(worker.poll() is None for worker in workers)
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


@pytest.mark.parametrize("bucket", ["gs"], indirect=True)
def test_a_run_killed_twice_ends_with_the_bytes_of_a_local_one(bucket, musicvae, windows_folder, tmp_path):
    """Windows, checkpoint, latents and run lie on the bucket; each start is on a machine without a cache."""
    local = tmp_path / "local"
    latents.build(windows_folder, musicvae, local / "latents", batch_size=8, limit=8)
    assert cli.train(surrogate(local / "latents", musicvae, local / "run")) == 0

    remote.send(windows_folder, f"{bucket}/windows")
    remote.send(musicvae, f"{bucket}/base")
    command = ["latents", "--windows", f"{bucket}/windows", "--checkpoint", f"{bucket}/base", "--batch-size", "8"]
    assert cli.main([*command, "--limit", "8", "--out", f"{bucket}/latents"]) == 0
    shards = (local / "latents").rglob("*-of-*")
    here = {file.relative_to(local / "latents").as_posix(): file.read_bytes() for file in shards}
    there = {name: remote.here(f"{bucket}/latents/{name}", "tests").read_bytes() for name in here}
    assert there == here

    workdir = f"{bucket}/run"
    train = surrogate(f"{bucket}/latents", f"{bucket}/base", workdir)
    killed_at(3, workdir, 1, tmp_path / "first", train)
    killed_at(6, workdir, 2, tmp_path / "second", train)
    assert cli.train(train) == 0
    (tmp_path / "metrics.jsonl").write_text(remote.read_text(f"{workdir}/metrics.jsonl"))
    lines, expected = (
        [line["loss"] for line in metrics_log.read(folder / "metrics.jsonl") if "loss" in line]
        for folder in (tmp_path, local / "run")
    )
    assert len(expected) == STEPS
    assert lines == expected
    assert checkpoint.fingerprint(f"{workdir}/checkpoint") == checkpoint.fingerprint(local / "run" / "checkpoint")


def test_a_run_on_a_bucket_resumes_bit_for_bit_on_as_many_devices(bucket, windows_folder, tmp_path, monkeypatch):
    vae = ["vae", "--data", str(windows_folder), *MODEL, *RUN, "--schedule", "constant"]
    assert cli.train([*vae, "--steps", "6", "--workdir", str(tmp_path / "run")]) == 0
    for steps, cache in ((3, "one"), (6, "another")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        assert cli.train([*vae, "--steps", str(steps), "--workdir", f"{bucket}/run"]) == 0
    assert checkpoint.fingerprint(f"{bucket}/run/checkpoint") == checkpoint.fingerprint(tmp_path / "run" / "checkpoint")
    steps = {name.split("/")[1] for name in remote.listing(f"{bucket}/run") if name.startswith("snapshots/")}
    assert steps == {"3", "6"}
    assert {"config.json", "metrics.jsonl"} <= set(remote.listing(f"{bucket}/run"))


def test_a_bucket_that_is_missing_is_said_and_nothing_is_written(bucket, windows_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gone = bucket.replace(emulators.BUCKET, "no-such-bucket")
    assert cli.train(["vae", "--data", f"{gone}/windows", "--workdir", "run", *MODEL, *RUN]) == 1
    said = capsys.readouterr().err
    assert "gs://no-such-bucket/" in said or "s3://no-such-bucket/" in said
    assert "/windows: cannot be reached, read or written" in said
    assert "Traceback" not in said
    assert not Path("run").exists()
