"""`train.py vae|surrogate|joint` from the outside: folders, exit codes, resuming, what comes out."""

import json

import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.data import latents
from jaxaccomp.training import metrics_log
from jaxaccomp.weights import checkpoint

SIZES = ["--encoder-sizes", "4", "--conductor-sizes", "5", "--decoder-sizes", "6", "--latent-size", "3"]
SHORT = ["--batch-size", "8", "--steps", "2", "--log-every", "1", "--evaluate-windows", "8"]


@pytest.fixture(scope="module")
def vae(windows_folder, tmp_path_factory):
    """A run of two steps."""
    workdir = tmp_path_factory.mktemp("runs") / "vae"
    assert cli.train(["vae", "--data", str(windows_folder), "--workdir", str(workdir), *SIZES, *SHORT]) == 0
    return workdir


def test_a_run_leaves_its_settings_metrics_and_checkpoint(vae):
    settings = json.loads((vae / "config.json").read_text())
    assert settings["objective"] == "vae"
    assert settings["encoder_sizes"] == [4]
    assert settings["batch_size"] == 8
    steps = [line["step"] for line in metrics_log.read(vae / "metrics.jsonl") if "loss" in line]
    assert steps == [1, 2]
    config, params = checkpoint.load(vae / "checkpoint")
    assert config.musicvae.latent_size == 3
    assert config.surrogate is None
    assert params["surrogate"] is None


def test_a_finished_run_has_nothing_to_do(vae, windows_folder, capsys):
    before = (vae / "metrics.jsonl").read_text()
    assert cli.train(["vae", "--data", str(windows_folder), "--workdir", str(vae), *SIZES, *SHORT]) == 0
    assert (vae / "metrics.jsonl").read_text() == before
    assert "validation" in capsys.readouterr().out


def test_resuming_with_other_settings_is_refused(vae, windows_folder, capsys):
    command = ["vae", "--data", str(windows_folder), "--workdir", str(vae), *SIZES, *SHORT, "--clip", "2"]
    assert cli.train(command) == 2
    assert "clip 1.0, now it is 2.0" in capsys.readouterr().err


def test_its_own_config_repeats_a_run(vae, windows_folder, tmp_path):
    command = ["vae", "--data", str(windows_folder), "--workdir", str(tmp_path), "--config", str(vae / "config.json")]
    assert cli.train([*command, "--steps", "1"]) == 0
    first, again = (next(x for x in metrics_log.read(d / "metrics.jsonl") if "loss" in x) for d in (vae, tmp_path))
    assert first["loss"] == again["loss"]


@pytest.mark.parametrize("preset", ["default", "seed"])
def test_a_surrogate_joins_the_vae_in_its_checkpoint(preset, vae, windows_folder, tmp_path):
    latents.build(windows_folder, vae / "checkpoint", tmp_path / "latents", batch_size=8)
    command = ["surrogate", "--data", str(tmp_path / "latents"), "--workdir", str(tmp_path / "run"), *SHORT]
    # The latents know their checkpoint; it may be named all the same.
    command += ["--checkpoint", str(vae / "checkpoint"), "--preset", "seed"] if preset == "seed" else []
    assert cli.train(command) == 0
    config, params = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert config.surrogate.sizes == ((4,) if preset == "default" else (128, 128))
    assert config.surrogate.predict_scale == (preset == "default")
    _, alone = checkpoint.load(vae / "checkpoint")
    np.testing.assert_array_equal(params["musicvae"]["mean"]["kernel"], alone["musicvae"]["mean"]["kernel"])
    assert set(params["surrogate"]) >= {"layer_0", "mean"}


@pytest.mark.slow
def test_joint_starts_from_scratch_or_from_a_checkpoint_and_leaves_both_models(vae, windows_folder, tmp_path):
    command = ["joint", "--data", str(windows_folder), *SHORT]
    scratch = tmp_path / "scratch"
    assert cli.train([*command, "--workdir", str(scratch), *SIZES]) == 0
    config, params = checkpoint.load(scratch / "checkpoint")
    assert config.surrogate.sizes == config.musicvae.encoder_sizes == (4,)
    assert cli.train([*command, "--workdir", str(tmp_path / "on"), "--checkpoint", str(scratch / "checkpoint")]) == 0
    _, further = checkpoint.load(tmp_path / "on" / "checkpoint")
    for model in ("musicvae", "surrogate"):
        moved = np.abs(further[model]["mean"]["kernel"] - params[model]["mean"]["kernel"]).max()
        assert 0 < moved < 0.1
    wide = ["--workdir", str(tmp_path / "wide"), "--checkpoint", str(scratch / "checkpoint"), "--encoder-sizes", "7"]
    assert cli.train([*command, *wide]) == 0
    assert checkpoint.load(tmp_path / "wide" / "checkpoint")[0].surrogate.sizes == (7,)
    lone = ["--workdir", str(tmp_path / "lone"), "--checkpoint", str(vae / "checkpoint")]
    assert cli.train([*command, *lone]) == 0
    assert checkpoint.load(tmp_path / "lone" / "checkpoint")[0].surrogate.sizes == (4,)


def test_drum_data_and_its_share_belong_together(windows_folder, tmp_path, capsys):
    command = ["joint", "--data", str(windows_folder), "--workdir", str(tmp_path / "run"), *SIZES, *SHORT]
    for half in (["--drum-windows", "0.2"], ["--drum-data", str(windows_folder)]):
        assert cli.train([*command, *half]) == 2
        assert "belong together" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_drum_data_resumes_with_it_alone(windows_folder, tmp_path, capsys):
    command = ["joint", "--data", str(windows_folder), "--workdir", str(tmp_path), *SIZES, *SHORT]
    drums = ["--drum-data", str(windows_folder), "--drum-windows", "0.5"]
    assert cli.train([*command, *drums]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["drum_data_fingerprint"] == "made up"
    assert cli.train([*command, *drums, "--steps", "3"]) == 0
    capsys.readouterr()
    assert cli.train([*command, "--steps", "4"]) == 2
    assert "drum_windows 0.5, now it is 0.0" in capsys.readouterr().err


def test_each_objective_has_its_own_data(vae, windows_folder, tmp_path, capsys):
    latents.build(windows_folder, vae / "checkpoint", tmp_path / "latents", batch_size=8, limit=1)
    paths = ["--workdir", str(tmp_path / "run"), "--data"]
    assert cli.train(["vae", *paths, str(tmp_path / "latents"), *SIZES, *SHORT]) == 1
    assert "holds trio_latents, expected trio_windows" in capsys.readouterr().err
    for checkpoint_flags in ([], ["--checkpoint", str(vae / "checkpoint")]):
        assert cli.train(["surrogate", *paths, str(windows_folder), *checkpoint_flags, *SHORT]) == 1
        assert "holds trio_windows, expected trio_latents" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--data", "nowhere"], 1, "nowhere"),
        (["--batch-size", "0"], 2, "batch_size must be positive"),
        (["--batch-size", "7"], 1, "does not divide into 2 devices"),
        (["--config", "bad.json"], 2, "no setting is called batchsize"),
        (["--token-dropout", "0.5"], 2, "must be three shares"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(flags, code, said, windows_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"batchsize": 4}')
    assert cli.train(["vae", "--data", str(windows_folder), "--workdir", "run", *SIZES, *SHORT, *flags]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists() or flags == ["--batch-size", "7"]


@pytest.mark.parametrize("content", ['{"objective": ', "[]"])
def test_a_damaged_record_of_the_run_is_said(content, windows_folder, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content)
    assert cli.train(["vae", "--data", str(windows_folder), "--workdir", str(tmp_path), *SIZES, *SHORT]) == 2
    assert "config.json: " in capsys.readouterr().err


def test_help_lists_every_setting(capsys):
    for objective in ("vae", "joint", "surrogate"):
        assert cli.train([objective, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in ("--free-bits", "--decoder-weight", "--accumulation", "--precision"))
