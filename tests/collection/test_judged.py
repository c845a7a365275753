"""Everything on: a guided bass, candidates, a critic. A song's notes still depend on nothing but the song."""

import dataclasses
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from collection_runs import melody_song, read_entries

from jaxaccomp.collection import manifest
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.config import CriticConfig, GuideConfig
from jaxaccomp.generate import accompanist
from jaxaccomp.models import critic, guide
from jaxaccomp.music import measures, midi
from jaxaccomp.runtime import VIRTUAL_DEVICES
from jaxaccomp.weights import checkpoint

PLAY = {"candidates": 3, "retries": 0}


@pytest.fixture(scope="module")
def judged(tiny_checkpoint, tmp_path_factory):
    """The tiny checkpoint with a guide, and a critic that asks a few random questions."""
    config, params = checkpoint.load(tiny_checkpoint)
    experts = GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,))
    judge = CriticConfig(trees=8, depth=2, features=measures.NAMES, drum_trees=6, drum_features=measures.OF_DRUMS)
    trees = _trees(critic.shapes(judge) | {"drums": None}, len(measures.NAMES), seed=0)
    trees["drums"] = _trees(critic.shapes(judge)["drums"], len(measures.OF_DRUMS), seed=1)
    path = tmp_path_factory.mktemp("judged") / "checkpoint"
    config = dataclasses.replace(config, guide=experts, critic=judge)
    params = {**params, "guide": guide.initialize(experts, jax.random.key(0)), "critic": trees}
    return checkpoint.save(path, config, params)


def _trees(shapes, features, seed):
    """Random questions, random answers."""
    random = np.random.default_rng(seed)
    trees = {name: random.normal(size=shape) for name, shape in shapes.items() if shape is not None}
    return trees | {"feature": random.integers(0, features, shapes["feature"])}


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for number, bars in enumerate((5, 40, 17)):
        midi.write(melody_song(number, bars), folder / f"{number}.mid")
    return folder


def test_a_checkpoint_keeps_its_guide_and_its_critic(judged):
    config, params = checkpoint.load(judged)
    assert config.guide.harmony_sizes == (8,)
    assert config.critic.features == measures.NAMES
    assert set(params) == {"musicvae", "surrogate", "guide", "critic"}
    assert set(params["critic"]) == set(critic.shapes(config.critic))
    assert set(params["critic"]["drums"]) == set(critic.shapes(config.critic)["drums"])


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 64])
def test_a_collection_in_batches_of_any_size_plays_what_accompany_plays(judged, songs, tmp_path, batch_size):
    settings = CollectionConfig(workers=1, batch_size=batch_size)
    collection.run([songs], tmp_path, settings, checkpoint=judged, **PLAY)
    band = accompanist.load(judged)
    for entry in read_entries(tmp_path / manifest.NAME):
        (take,) = band.accompany(songs / entry["input"], **PLAY)
        assert (tmp_path / entry["outputs"][0]).read_bytes() == take.score.data
        assert entry["scores"] == pytest.approx(take.scores, abs=1e-4)
        assert set(take.scores) == {"total", "critic", "drum_critic", "coverage"}


@pytest.fixture(scope="module")
def alone(judged, songs):
    """What `accompany` makes of each song by itself."""
    band = accompanist.load(judged)
    return {path.name: band.accompany(path, **PLAY)[0].score.data for path in sorted(songs.iterdir())}


def _start(songs, checkpoint_path, out, *flags, devices=1):
    command = [sys.executable, "-m", "jaxaccomp", "infer", str(songs), "--out", str(out), "--workers", "1"]
    command += ["--checkpoint", str(checkpoint_path), "--candidates", "3", "--retries", "0", *flags]
    environment = {**os.environ, "XLA_FLAGS": f"--{VIRTUAL_DEVICES}={devices}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_eight_devices_and_small_batches_play_what_accompany_plays(judged, songs, alone, tmp_path):
    assert _start(songs, judged, tmp_path, "--batch-size", "3", devices=8).wait() == 0
    assert {name: (tmp_path / name).read_bytes() for name in alone} == alone


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_plays_what_accompany_plays(judged, songs, alone, tmp_path):
    first = _start(songs, judged, tmp_path, "--batch-size", "2")
    deadline_s = time.monotonic() + 240
    while first.poll() is None and time.monotonic() < deadline_s and not any(tmp_path.glob("*.mid")):
        time.sleep(0.002)
    first.kill()
    first.wait()
    assert any(tmp_path.glob("*.mid")), "it was killed after the first song"
    assert _start(songs, judged, tmp_path, "--batch-size", "5").wait() == 0
    assert {name: (tmp_path / name).read_bytes() for name in alone} == alone


def test_guidance_and_choice_change_notes_and_off_they_do_not(judged, tiny_checkpoint, songs):
    band, plain = accompanist.load(judged), accompanist.load(tiny_checkpoint)
    song = songs / "2.mid"
    off = {"guidance": 0, "candidates": 1}
    assert band.accompany(song, **off)[0].score.data == plain.accompany(song)[0].score.data
    guided = band.accompany(song, candidates=1, temperature=(0.45, 0.25))[0].windows
    unguided = plain.accompany(song)[0].windows
    assert not np.array_equal(guided[..., 1], unguided[..., 1])
    np.testing.assert_array_equal(guided[..., 2], unguided[..., 2])
