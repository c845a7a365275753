import jax
import numpy as np
import pytest

from jaxaccomp.arrays import BARS, NO_EVENT, PARTS, STEPS, STEPS_PER_BAR
from jaxaccomp.config import PRESETS
from jaxaccomp.generate import sampler
from jaxaccomp.generate.decoding import bar_parallel, blocks, native
from jaxaccomp.models import musicvae


@pytest.fixture(scope="module")
def tiny():
    config = PRESETS["tiny"]
    params = musicvae.initialize(config, jax.random.key(1))
    # Louder than drawn, so that a token is heard bars later and walks take many turns.
    for part in PARTS:
        params[f"decoder_{part}"]["layer_0"]["kernel"] *= 4
    z_BZ = np.asarray(jax.random.normal(jax.random.key(2), (8, config.latent_size)))
    return sampler.Sampler(config, params), z_BZ, jax.random.split(jax.random.key(3), 8)


@pytest.fixture(autouse=True)
def without_machine_code(monkeypatch):
    """Leaves all to XLA."""
    monkeypatch.setattr(native, "is_available", lambda: False)


@pytest.fixture
def sequential(monkeypatch):
    """Has the sampler decode bar by bar, however few songs there are."""
    monkeypatch.setattr(bar_parallel, "ROWS", 0)


def at_once(model, z_BZ, keys_B, temperature_BP, parts, top_p=None):
    embedding_BSE = blocks.in_blocks(
        lambda z_BZ: sampler._conduct(model._conductor, z_BZ, dtype=None), z_BZ, sizes=blocks.whole()
    )
    decoders = [model._decoder(part) for part in parts]
    return bar_parallel.decode(decoders, top_p, embedding_BSE, keys_B, temperature_BP, parts=parts)


@pytest.mark.parametrize("parts", [("bass", "drums"), PARTS, ("drums",)])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_tokens_are_the_sequential_samplers(tiny, sequential, parts, temperature):
    model, z_BZ, keys_B = tiny
    temperature_BP = np.full((8, len(parts)), temperature, np.float32)
    expected = model(z_BZ, keys_B, temperature, parts)
    for rows in (1, 3, 8):
        found = at_once(model, z_BZ[:rows], keys_B[:rows], temperature_BP[:rows], parts)
        np.testing.assert_array_equal(found.tokens_BLP, expected[:rows])
        assert [bars[0] for bars in found.bars] == [rows * BARS] * len(parts)
    if temperature == 1:
        assert max(map(len, found.bars)) > 2, "bars of this model do not hear each other: nothing was proven"


def test_top_p_and_temperatures_of_rows_and_parts(tiny, sequential):
    model, z_BZ, keys_B = tiny
    temperature_BP = np.linspace(0, 2, 16, dtype=np.float32).reshape(8, 2)
    found = at_once(model, z_BZ, keys_B, temperature_BP, ("drums", "melody"), np.float32(0.8))
    np.testing.assert_array_equal(found.tokens_BLP, model(z_BZ, keys_B, temperature_BP, ("drums", "melody"), 0.8))


def test_the_sampler_takes_it_for_few_rows(tiny, monkeypatch):
    model, z_BZ, keys_B = tiny
    seen, decode = [], bar_parallel.decode
    monkeypatch.setattr(
        bar_parallel, "decode", lambda *args, **settings: seen.append(len(args[2])) or decode(*args, **settings)
    )
    few = np.asarray(model(z_BZ, keys_B, 1.0))
    many = np.asarray(model(np.concatenate([z_BZ] * 3), jax.numpy.concatenate([keys_B] * 3), 1.0))
    assert seen == [8]
    np.testing.assert_array_equal(np.concatenate([few] * 3), many)


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 90])
@pytest.mark.parametrize("seed", range(5))
def test_walk_through_any_function(vocabulary, seed):
    """The walk alone, through random tables in place of a model: bars that hear each other as much as can be."""
    generator = np.random.default_rng(seed)
    batch = 3
    table = generator.integers(0, vocabulary, (batch, BARS, vocabulary + 1, STEPS_PER_BAR), np.int32)
    is_chain = vocabulary == 2 and seed == 0
    if is_chain:  # the longest chain: each bar ends in the token it started from, but the first
        table[..., -1] = np.arange(-1, vocabulary)
        table[:, 0, :, -1] = 1
    expected = np.zeros((batch, STEPS), np.int32)
    for song in range(batch):
        before = musicvae.NO_TOKEN
        for bar in range(BARS):
            tokens_T = table[song, bar, before + 1]
            expected[song, bar * STEPS_PER_BAR : (bar + 1) * STEPS_PER_BAR] = tokens_T
            before = tokens_T[-1]

    walk, asked, sweeps, found = bar_parallel._walk(batch), [], 0, None
    song_N, bar_N, before_N = next(walk)
    assert list(zip(song_N, bar_N, strict=True)) == [(song, bar) for song in range(batch) for bar in range(BARS)]
    assert set(before_N[bar_N > 0]) == {NO_EVENT}
    while found is None:
        asked += zip(song_N.tolist(), bar_N.tolist(), before_N.tolist(), strict=True)
        sweeps += 1
        try:
            song_N, bar_N, before_N = walk.send(table[song_N, bar_N, before_N + 1])
        except StopIteration as stop:
            found = stop.value
    np.testing.assert_array_equal(found, expected)
    assert len(asked) == len(set(asked)), "a bar was decoded twice after the same token"
    assert sweeps <= (3 if is_chain else BARS)
