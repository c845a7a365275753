"""What goes wrong around a run: each situation's exit code and sentence, and never a traceback.

Where several processes are needed for it, see test_several_processes.py; for buckets, test_buckets.py.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import emulators
import jax
import made_up
import numpy as np
import pytest

from jaxaccomp import cli, locks
from jaxaccomp.data import latents, windows
from jaxaccomp.errors import TrainingError
from jaxaccomp.training import metrics_log
from jaxaccomp.weights import checkpoint

MODEL = ["--encoder-sizes", "4", "--conductor-sizes", "5", "--decoder-sizes", "6", "--latent-size", "3"]
RUN = ["--batch-size", "8", "--log-every", "1", "--evaluate-windows", "8", "--checkpoint-every", "1"]


def said(capsys, code: int, arguments, pattern: str, verb: str = "train") -> str:
    """Runs a verb and checks exit code and sentence."""
    found = cli.main([verb, *map(str, arguments)])
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert found == code, text
    assert re.search(pattern, text), text
    return text


@pytest.fixture(scope="module")
def run(windows_folder, tmp_path_factory) -> Path:
    """A run of three steps."""
    workdir = tmp_path_factory.mktemp("runs") / "vae"
    assert cli.train(vae(windows_folder, workdir)) == 0
    return workdir


@pytest.fixture
def copy(run, tmp_path) -> Path:
    """The run, to be spoiled."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def latents_folder(run, windows_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    latents.build(windows_folder, run / "checkpoint", folder, batch_size=8, limit=4)
    return folder


@pytest.fixture(scope="module")
def other_checkpoint(run, tmp_path_factory) -> Path:
    """Another MusicVAE of the same sizes."""
    config, params = checkpoint.load(run / "checkpoint")
    params["musicvae"] = jax.tree.map(lambda array: array + 0.01, params["musicvae"])
    return checkpoint.save(tmp_path_factory.mktemp("other") / "checkpoint", config, params)


def vae(data: Path, workdir: Path, *more: str, steps: int = 3) -> list[str]:
    return ["vae", "--data", str(data), "--workdir", str(workdir), *MODEL, *RUN, "--steps", str(steps), *more]


@pytest.mark.parametrize(
    ("environment", "pattern"),
    [
        (
            {"SLURM_NTASKS": "4"},
            r"SLURM_NTASKS is 4, but SLURM_JOB_ID, .* not started by srun; start it as `srun",
        ),
        ({"SLURM_NTASKS": ""}, r"SLURM_NTASKS: expected a number, got ''"),
        ({"JAX_COORDINATOR_ADDRESS": "host:1"}, r"set JAX_NUM_PROCESSES and JAX_PROCESS_ID too, or unset all three"),
        ({"JAX_NUM_PROCESSES": ""}, r"JAX_NUM_PROCESSES: set, but empty"),
        (
            {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
            r"JAX_NUM_PROCESSES: expected a number of 0 or more, got 'two'",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            r"JAX has already started in this process, so it cannot join others",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, r"this Open MPI does not say where the first process is; set JAX_COORD"),
    ],
)
def test_a_half_set_environment_is_refused(environment, pattern, windows_folder, tmp_path, monkeypatch, capsys):
    jax.devices()  # JAX has started: nothing here tries to reach anyone
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said(capsys, 1, vae(windows_folder, tmp_path / "run"), pattern)
    assert not (tmp_path / "run").exists()


def test_processes_that_are_not_connected_are_refused(windows_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 4)  # as on a slice, whose devices are seen by all
    said(capsys, 1, vae(windows_folder, tmp_path / "run"), r"one of 4 processes, but they are not connected")


def own_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jaxaccomp", "train", *arguments]
    return subprocess.run(
        command, env={**emulators.plain_environment(), **environment}, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_coordinator_that_does_not_answer_is_said(windows_folder, tmp_path):
    where = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{emulators.free_port()}", "JAXACCOMP_JOIN_SECONDS": "2"}
    found = own_process(*vae(windows_folder, tmp_path), **where, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID="1")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert re.search(r"did not meet within 2 s; see that all of them were started", found.stderr.splitlines()[-1])


def test_a_platform_that_is_not_there_is_said(windows_folder, tmp_path):
    found = own_process(*vae(windows_folder, tmp_path), JAX_PLATFORMS="cuda", XLA_FLAGS="")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert "JAX_PLATFORMS=cuda: JAX cannot use that here" in found.stderr
    assert "unset JAX_PLATFORMS" in found.stderr


@pytest.mark.slow
def test_another_dataset_on_resume_is_refused_with_both_names(copy, windows_folder, tmp_path, capsys):
    other = Path(shutil.copytree(windows_folder, tmp_path / "other"))
    record = next(other.glob("*/*/metadata.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"identity": "another"}))
    pattern = rf"started with data {re.escape(str(windows_folder))} \(made up\), now it is {re.escape(str(other))} "
    said(capsys, 2, vae(other, copy, steps=4), pattern)


def surrogate(data: Path, workdir: Path, *more: object) -> list[str]:
    return ["surrogate", "--data", str(data), "--workdir", str(workdir), *RUN, "--steps", "2", *map(str, more)]


def test_latents_of_another_musicvae_are_refused_with_both_names(
    run, latents_folder, other_checkpoint, tmp_path, capsys
):
    given = checkpoint.fingerprint(other_checkpoint, part="musicvae")[:12]
    made = checkpoint.fingerprint(run / "checkpoint", part="musicvae")[:12]
    arguments = surrogate(latents_folder, tmp_path / "run", "--checkpoint", other_checkpoint)
    said(capsys, 1, arguments, rf"made by another MusicVAE \({made}, then at .*\) than that of .* \({given}\)")
    assert not (tmp_path / "run").exists()
    assert cli.train([*arguments, "--allow-foreign-latents", "--dry-run"]) == 0
    assert not (tmp_path / "run").exists()


def test_another_musicvae_on_resume_is_refused_with_both_names(
    run, latents_folder, other_checkpoint, windows_folder, tmp_path, capsys
):
    settings = json.loads((run / "config.json").read_text())
    workdir = tmp_path / "run"
    workdir.mkdir()
    stored = surrogate(latents_folder, workdir, "--checkpoint", run / "checkpoint")
    known = {"objective": "surrogate", "musicvae": "elsewhere", "musicvae_fingerprint": "0123456789abcdef"}
    (workdir / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if "data" not in k} | known))
    made = checkpoint.fingerprint(run / "checkpoint", part="musicvae")[:12]
    said(capsys, 2, stored, rf"started with musicvae elsewhere \(0123456789ab\), now it is .* \({made}\)")


@pytest.mark.parametrize("verb", ["train", "windows", "latents"])
def test_a_second_writer_is_refused(verb, run, windows_folder, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "songs").mkdir()
    arguments = {
        "train": vae(windows_folder, out),
        "windows": [str(tmp_path / "songs"), "--out", str(out)],
        "latents": ["--windows", str(windows_folder), "--checkpoint", str(run / "checkpoint"), "--out", str(out)],
    }
    with locks.locked(out, TrainingError):
        said(capsys, 1, arguments[verb], r"out: another run is writing there; wait for it to end", verb)
        assert os.listdir(out) == [".lock"]
    assert not out.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax forsakes its other writes
def test_a_disk_that_is_full_is_said(copy, windows_folder, capsys):
    """No file may grow beyond 50 kB, so a state is cut off where a full disk would cut it off."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        said(capsys, 1, vae(windows_folder, copy, steps=7), r"the run's state cannot be written .*free some space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_damaged_newest_state_is_passed_over(copy, run, windows_folder, capsys):
    files = [file for file in (copy / "snapshots" / "3" / "state").rglob("*") if file.is_file()]
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    text = said(capsys, 0, vae(windows_folder, copy), r"snapshots/3: this saved state is damaged .*the one before")
    assert "resuming from step 2" in text
    first, second = (metrics_log.read(folder / "metrics.jsonl") for folder in (copy, run))
    assert [line["loss"] for line in first if "loss" in line] == [line["loss"] for line in second if "loss" in line]


def test_a_token_beyond_the_vocabulary_is_named_with_file_and_record(tmp_path, capsys):
    random = np.random.default_rng(0)

    def song(count: int) -> dict[str, np.ndarray]:
        place = {"segment": np.zeros(count, np.int32), "bar": np.arange(count, dtype=np.int32)}
        parts = {name: np.zeros((count, 3), np.int16) for name in ("instruments", "programs")}
        tokens = made_up.tokens(random, count)
        return {"tokens": tokens, **place, **parts, "qpm": np.full(count, 120, np.float32)}

    bad = song(10)
    bad["tokens"][7, 3, 1] = 90
    made_up.write(tmp_path / "data", windows.NAME, windows.COLUMNS, {"train": [bad], "validation": [song(8)]})
    pattern = r"trio_windows-train.array_record-00000-of-00001: record 7 holds the token 90 in 'tokens', beyond the voc"
    said(capsys, 1, vae(tmp_path / "data", tmp_path / "run"), pattern)
    assert not (tmp_path / "run").exists()


def test_a_run_given_as_checkpoint_points_to_its_checkpoint(run, windows_folder, tmp_path, capsys):
    arguments = ["--windows", windows_folder, "--checkpoint", run, "--out", tmp_path / "out"]
    pattern = r"is the folder of a training run; its checkpoint is .*vae/checkpoint"
    said(capsys, 1, arguments, pattern, "latents")
    assert not (tmp_path / "out").exists()


def test_a_user_without_a_home_folder_is_told(monkeypatch, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    said(capsys, 1, ["somewhere.tar", "--out", "out"], r"no home folder .*; set HOME or XDG_CACHE_HOME", "port")


def test_fewer_steps_than_are_done_are_refused(run, windows_folder, capsys):
    said(capsys, 2, vae(windows_folder, run, steps=2), r"3 steps are done, --steps 2 asks for fewer; give --steps 3 or")


def test_a_batch_that_does_not_divide_leaves_nothing(windows_folder, tmp_path, capsys):
    said(capsys, 1, vae(windows_folder, tmp_path / "run", "--batch-size", "7"), r"7 windows does not divide into 2 dev")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_and_leaves_nothing(windows_folder, tmp_path, capsys):
    text = said(capsys, 0, vae(windows_folder, tmp_path / "run", "--dry-run"), r"new run, from step 0")
    for expected in (
        "2 × cpu; processes: 1",
        "120 windows of 4 songs",
        "10 windows of 1 songs",
        "an epoch has 15",
        "MiB",
    ):
        assert expected in text
    assert not (tmp_path / "run").exists()


def test_wandb_that_is_not_installed_is_said_before_anything_is_done(windows_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    said(
        capsys,
        1,
        vae(windows_folder, tmp_path / "run", "--wandb", "tests"),
        r"wandb is not installed here; pip install",
    )
    assert not (tmp_path / "run").exists()


def test_a_missing_checkpoint_of_a_killed_export_is_written_again(copy, run, windows_folder, capsys):
    shutil.rmtree(copy / "checkpoint")
    said(capsys, 0, vae(windows_folder, copy), r"resuming from step 3")
    assert checkpoint.fingerprint(copy / "checkpoint") == checkpoint.fingerprint(run / "checkpoint")


@pytest.mark.parametrize("setting", ["x64", "prng", "precision", "rank", "promotion"])
def test_ambient_settings_of_jax_break_no_step_and_change_no_number(setting, run, windows_folder, tmp_path):
    context = {
        "x64": lambda: jax.enable_x64(True),
        "prng": lambda: jax.default_prng_impl("rbg"),
        "precision": lambda: jax.default_matmul_precision("bfloat16"),
        "rank": lambda: jax.numpy_rank_promotion("raise"),
        "promotion": lambda: jax.numpy_dtype_promotion("strict"),
    }[setting]
    with context():
        assert cli.train(vae(windows_folder, tmp_path / "run", steps=3)) == 0
        assert threading.current_thread() is threading.main_thread()
    assert checkpoint.fingerprint(tmp_path / "run" / "checkpoint") == checkpoint.fingerprint(run / "checkpoint")


def test_describe_tells_a_run_a_checkpoint_and_a_dataset(run, windows_folder, latents_folder, capsys):
    def described(what: Path) -> dict:
        assert cli.main(["describe", str(what), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    told = described(run)
    assert (told["kind"], told["steps done"], told["steps asked for"]) == ("run of train vae", 3, 3)
    assert told["saved states"] == [2, 3]
    told = described(run / "checkpoint")
    assert told["kind"] == "checkpoint"
    assert told["fingerprint"] == checkpoint.fingerprint(run / "checkpoint")
    assert described(windows_folder)["splits"]["train"] == {"windows": 120, "songs": 4, "shards": 1}
    told = described(latents_folder)
    assert (told["kind"], told["latent_size"], told["splits"]["train"]["windows"]) == ("dataset trio_latents", 3, 16)
    assert cli.main(["describe", str(run)]) == 0
    assert "objective  vae" in capsys.readouterr().out


def test_describe_refuses_what_is_none_of_them(tmp_path, capsys):
    said(capsys, 2, [tmp_path], r"expected a checkpoint, a run's folder or a dataset", "describe")
    said(capsys, 1, [tmp_path / "nothing"], r"no such checkpoint", "describe")
