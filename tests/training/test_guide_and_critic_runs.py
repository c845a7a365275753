"""`train.py guide` and `train.py critic` from the outside: one checkpoint, one entry more each time, and it plays."""

import json

import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.generate import accompanist
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.training import critic as critics
from jaxaccomp.training import metrics_log
from jaxaccomp.weights import checkpoint

GUIDE = ["--steps", "2", "--batch-size", "8", "--log-every", "1", "--evaluate-windows", "8"]
GUIDE += ["--harmony-sizes", "6", "--rhythm-sizes", "5"]
CRITIC = [
    "--steps",
    "6",
    "--drum-steps",
    "4",
    "--windows",
    "12",
    "--real-windows",
    "40",
    "--candidates",
    "2",
    "--batch-size",
    "8",
]
CRITIC += ["--depth", "2", "--log-every", "2"]


@pytest.fixture(scope="module")
def guided(tiny_checkpoint, windows_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "guide"
    command = ["guide", "--data", str(windows_folder), "--workdir", str(workdir), "--checkpoint", str(tiny_checkpoint)]
    assert cli.train([*command, *GUIDE]) == 0
    return workdir


@pytest.fixture(scope="module")
def judged(guided, windows_folder):
    workdir = guided.parent / "critic"
    command = ["critic", "--data", str(windows_folder), "--workdir", str(workdir)]
    command += ["--checkpoint", str(guided / "checkpoint"), *CRITIC]
    assert cli.train(command) == 0
    return workdir, command


def test_a_guide_is_added_and_nothing_else_changes(guided, tiny_checkpoint):
    assert [line["step"] for line in metrics_log.read(guided / "metrics.jsonl") if "loss" in line] == [1, 2]
    config, params = checkpoint.load(guided / "checkpoint")
    _, before = checkpoint.load(tiny_checkpoint)
    assert config.guide.harmony_sizes == (6,)
    assert config.critic is None
    np.testing.assert_array_equal(params["musicvae"]["mean"]["kernel"], before["musicvae"]["mean"]["kernel"])
    np.testing.assert_array_equal(params["surrogate"]["mean"]["kernel"], before["surrogate"]["mean"]["kernel"])


def test_a_critic_is_added_and_says_what_it_was_fitted_on(judged, guided):
    workdir, _ = judged
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    config, params = checkpoint.load(workdir / "checkpoint")
    assert (config.critic.trees, config.critic.depth, config.critic.features) == (6, 2, critics.FEATURES)
    assert params["critic"]["value"].shape == (6, 4)
    assert (config.critic.drum_trees, config.critic.drum_features) == (4, critics.DRUM_FEATURES)
    assert params["critic"]["drums"]["value"].shape == (4, 4)
    settings = json.loads((workdir / "config.json").read_text())
    assert settings["checkpoint"] == checkpoint.fingerprint(guided / "checkpoint")


def test_the_same_command_goes_on_from_its_draws(judged, monkeypatch):
    workdir, command = judged
    before = checkpoint.fingerprint(workdir / "checkpoint")
    monkeypatch.setattr(critics, "draw", lambda *_: pytest.fail("drew again"))
    assert cli.train(command) == 0
    assert checkpoint.fingerprint(workdir / "checkpoint") == before


def test_draws_are_the_candidates_that_the_band_plays(judged):
    workdir, _ = judged
    band = accompanist.load(workdir / "checkpoint")
    with np.load(workdir / "draws.npz") as stored:
        drawn_NKLP = stored["drawn"]
    assert drawn_NKLP.shape == (12, 2, 256, 3)
    names, nothing = np.array([[0, 3]], np.uint32), np.zeros(1, np.int32)
    again = band.play(drawn_NKLP[3:4, 0, :, 0], names, nothing, nothing, nothing + 1, options=PlayOptions(candidates=2))
    np.testing.assert_array_equal(np.asarray(again.tokens_BLP), drawn_NKLP[3:4, 1, :, 1:])
