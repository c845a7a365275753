import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.data import shards
from jaxaccomp.data import windows as windows_data
from jaxaccomp.errors import DatasetError
from jaxaccomp.evaluation import heldout, metrics
from jaxaccomp.models import musicvae


@pytest.fixture(scope="module")
def windows(latents_folder):
    return heldout.read(latents_folder)


def test_reads_tokens_latents_and_songs(windows, trios, tiny_params):
    np.testing.assert_array_equal(windows.tokens_NLP, trios)
    assert windows.song_N.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert (len(windows), windows.available) == (10, 10)
    mean_BZ, scale_BZ = musicvae.encode(tiny_params, jnp.asarray(trios))
    np.testing.assert_array_equal(windows.mean_NZ, mean_BZ)
    np.testing.assert_array_equal(windows.scale_NZ, scale_BZ)


def test_several_splits_are_joined_and_their_songs_kept_apart(latents_folder, trios):
    both = heldout.read(latents_folder, ("validation", "test"))
    np.testing.assert_array_equal(both.tokens_NLP, np.concatenate([trios[:4], trios]))
    assert both.song_N.tolist() == [0] * 4 + [1] * 5 + [2] + [3] * 4


def test_a_limit_takes_a_seeded_choice(latents_folder, trios):
    some = heldout.read(latents_folder, limit=6)
    assert (len(some), some.available) == (6, 10)
    again = heldout.read(latents_folder, limit=6)
    np.testing.assert_array_equal(some.tokens_NLP, again.tokens_NLP)
    others = [heldout.read(latents_folder, limit=6, seed=seed) for seed in range(1, 5)]
    assert any((other.tokens_NLP != some.tokens_NLP).any() for other in others)
    for tokens, song in zip(some.tokens_NLP, some.song_N, strict=True):
        (row,) = np.flatnonzero((trios == tokens).all((1, 2)))
        assert song == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2][row]


def test_strangers_are_of_other_songs_and_any_of_them(windows):
    seen = set()
    for seed in range(60):
        strangers = windows.strangers(seed)
        assert (windows.song_N[strangers] != windows.song_N).all()
        seen |= set(zip(range(10), strangers.tolist(), strict=True))
    possible = {(i, j) for i in range(10) for j in range(10) if windows.song_N[i] != windows.song_N[j]}
    assert seen == possible


def test_a_single_song_has_no_strangers(latents_folder):
    assert heldout.read(latents_folder, ("train",)).strangers(0) is None


def test_rows_spread_over_all(windows):
    assert windows.spread(5).tolist() == [0, 2, 4, 6, 8]
    assert windows.spread(99).tolist() == list(range(10))
    np.testing.assert_array_equal(windows.take(windows.spread(5)).tokens_NLP, windows.tokens_NLP[::2])


def test_refusals(latents_folder, tmp_path):
    with pytest.raises(DatasetError, match="no split 'exam'; there are"):
        heldout.read(latents_folder, ("exam",))
    with pytest.raises(DatasetError, match="no finished dataset here"):
        heldout.read(tmp_path)


def test_windows_are_encoded_on_the_way(latents_folder, trios, tiny_params, tmp_path):
    """The same windows give the same, as windows and as latents of the same encoder."""
    folder = shards.folder_of(tmp_path, windows_data.NAME)
    folder.mkdir(parents=True)
    zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in windows_data.COLUMNS.items() if dtype is not str}
    examples = [zeros | {"tokens": trios[row].astype(np.int16), "song": f"song{row // 5}"} for row in range(10)]
    shards.write_shard(shards.shard_file(folder, windows_data.NAME, "test", 0, 1), windows_data.COLUMNS, examples)
    lines = [{"song": f"song{number}", "split": "test", "windows": 5} for number in range(2)]
    (folder / shards.SONGS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    shards.write_metadata(folder, windows_data.NAME, windows_data.COLUMNS, {"test": [10]}, "test", {})
    found = heldout.read(tmp_path, encode=metrics.encoder({"musicvae": tiny_params}, 4))
    stored = heldout.read(latents_folder)
    np.testing.assert_array_equal(found.tokens_NLP, stored.tokens_NLP)
    np.testing.assert_allclose(found.mean_NZ, stored.mean_NZ, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scale_NZ, stored.scale_NZ, rtol=1e-5, atol=1e-6)
    with pytest.raises(DatasetError, match="holds no"):
        heldout.read(tmp_path)
