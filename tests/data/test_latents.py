import json
import shutil

import jax
import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.arrays import PARTS
from jaxaccomp.config import PRESETS
from jaxaccomp.data import latents, shards
from jaxaccomp.errors import CheckpointError, DatasetError
from jaxaccomp.models import musicvae
from jaxaccomp.weights import checkpoint


def test_every_window_gets_its_posterior_in_its_split(windows_folder, latents_folder, tiny):
    _, params = checkpoint.load(tiny)
    for split in shards.SPLITS:
        stored = shards.open_split(windows_folder, split, memory_bytes=0)
        made = shards.open_split(latents_folder, split, memory_bytes=0)
        stored, made = stored.read(range(len(stored))), made.read(range(len(made)))
        posterior = jax.jit(musicvae.encode)(params["musicvae"], stored["tokens"].astype(np.int32))
        np.testing.assert_allclose(made["mean"], posterior.mean_BZ, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made["scale"], posterior.scale_BZ, rtol=1e-5, atol=1e-6)
        for place, part in enumerate(PARTS):
            assert np.array_equal(made[part], stored["tokens"][:, :, place])
        for name in ("song", "segment", "bar"):
            assert np.array_equal(made[name], stored[name])
        assert (made["length"] == 256).all()


def test_the_dataset_remembers_its_checkpoint(latents_folder, tiny):
    metadata = shards.read_metadata(latents_folder)
    assert metadata["checkpoint"] == checkpoint.fingerprint(tiny)
    assert metadata["latent_size"] == 8


def test_the_checkpoint_is_found_again(windows_folder, latents_folder, tiny, tmp_path, monkeypatch):
    assert latents.checkpoint_of(latents_folder) == tiny
    with pytest.raises(DatasetError, match="holds trio_windows, expected trio_latents"):
        latents.checkpoint_of(windows_folder)
    moved = tmp_path / "shelf" / "band"
    shutil.copytree(tiny, tmp_path / "elsewhere")
    latents.build(windows_folder, tmp_path / "elsewhere", tmp_path, batch_size=4, limit=1)
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"no longer at .*elsewhere; say with --checkpoint where it is"):
        latents.checkpoint_of(tmp_path)
    shutil.copytree(tiny, moved)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_FOLDERS", (moved.parent,))
    assert latents.checkpoint_of(tmp_path) == moved


def test_a_limit_spreads_over_each_song(windows_folder, tiny, tmp_path):
    latents.build(windows_folder, tiny, tmp_path, batch_size=4, limit=2)
    stored, made = (shards.open_split(folder, "train", memory_bytes=0) for folder in (windows_folder, tmp_path))
    assert made.windows_by_song.tolist() == np.minimum(stored.windows_by_song, 2).tolist()
    bars, songs = (made.read(range(len(made)), (name,))[name] for name in ("bar", "song"))
    for song, count in zip(stored.songs, stored.windows_by_song.tolist(), strict=True):
        assert bars[songs == song["song"].encode()].tolist() == [0, count // 2]


def test_finished_latents_are_left_alone(windows_folder, latents_folder, tiny, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in latents_folder.rglob("*")}
    latents.build(windows_folder, tiny, latents_folder, batch_size=4, shard_count=4)
    assert {path: path.stat().st_mtime_ns for path in latents_folder.rglob("*")} == before
    config = PRESETS["tiny"]
    other = checkpoint.save(tmp_path / "other", config, musicvae.initialize(config, jax.random.key(1)))
    with pytest.raises(DatasetError, match="holds latents of other windows, of another checkpoint"):
        latents.build(windows_folder, other, latents_folder, batch_size=4, shard_count=4)


def test_what_cannot_be_encoded_is_refused(windows_folder, latents_folder, tiny, tmp_path):
    with pytest.raises(DatasetError, match="holds trio_latents, expected trio_windows"):
        latents.build(latents_folder, tiny, tmp_path / "out")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        latents.build(windows_folder, tmp_path / "nothing", tmp_path / "out")


def test_the_verb(windows_folder, tiny, tmp_path, capsys):
    command = ["latents", "--windows", str(windows_folder), "--checkpoint", str(tiny), "--out", str(tmp_path)]
    assert cli.main([*command, "--batch-size", "0"]) == 2
    assert "--batch-size must be positive, got 0" in capsys.readouterr().err
    assert cli.main([*command, "--batch-size", "4", "--limit", "1"]) == 0
    assert "z of 8 dimensions" in capsys.readouterr().out
    lines = [json.loads(line) for line in (shards.find(tmp_path) / shards.SONGS).read_text().splitlines()]
    assert {line["windows"] for line in lines} == {1}
