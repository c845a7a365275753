import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import BARS, PARTS, STEPS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.config import PRESETS
from jaxaccomp.errors import ConfigError
from jaxaccomp.generate import sampler
from jaxaccomp.generate.decoding import steps
from jaxaccomp.models import musicvae
from jaxaccomp.weights import porting

ROWS = 70
"""More than the largest block of a CPU."""


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(layer, x_BX, c_BH, h_BH):
    i, j, f, o = np.split(np.concatenate([x_BX, h_BH], -1) @ layer["kernel"] + layer["bias"], 4, axis=-1)
    c_BH = sigmoid(f + 1) * c_BH + sigmoid(i) * np.tanh(j)
    return c_BH, sigmoid(o) * np.tanh(c_BH)


def noise_BSTV(keys_B, part):
    def draw(key, bar, step):
        own = functools.reduce(jax.random.fold_in, (bar, step, PARTS.index(part)), key)
        return jax.random.gumbel(own, (VOCABULARY[part],))

    numbers = jnp.arange(16)
    for axes in ((None, None, 0), (None, 0, None), (0, None, None)):
        draw = jax.vmap(draw, axes)
    return np.asarray(draw(keys_B, numbers, numbers))


def simple(params, z_BZ, keys_B, temperature, part, told):
    """Scores, noise included, of one part as the specification tells it, in NumPy's float64.

    Step by step: no bucket, no bar ahead of its turn. The tokens are those it is told.
    """

    def unrolled(room, start_BX):
        start_BX = np.tanh(start_BX @ room["initial_state"]["kernel"] + room["initial_state"]["bias"])
        c_0, h_0, c_1, h_1 = np.split(start_BX, 4, axis=-1)
        return [[c_0, h_0], [c_1, h_1]]

    def stack(room, x_BX, state):
        for number, (c_BH, h_BH) in enumerate(state):
            state[number][:] = cell(room[f"layer_{number}"], x_BX, c_BH, h_BH)
            x_BX = state[number][1]
        return x_BX

    conductor, decoder = params["conductor"], params[f"decoder_{part}"]
    above, previous_BV = unrolled(conductor, z_BZ), np.zeros((len(z_BZ), VOCABULARY[part]))
    noise = noise_BSTV(keys_B, part) if temperature else np.zeros((1, BARS, STEPS_PER_BAR, 1))
    scores = []
    for bar in range(BARS):
        embedding_BE = stack(conductor, np.zeros((len(z_BZ), 1)), above)
        state = unrolled(decoder, embedding_BE)
        for step in range(STEPS_PER_BAR):
            top_BH = stack(decoder, np.concatenate([previous_BV, embedding_BE], -1), state)
            logits_BV = top_BH @ decoder["output"]["kernel"] + decoder["output"]["bias"]
            scores.append(logits_BV + temperature * noise[:, bar, step])
            previous_BV = np.eye(VOCABULARY[part])[told[:, len(scores) - 1]]
    return np.stack(scores, 1)


@pytest.fixture(scope="module")
def tiny():
    config = PRESETS["tiny"]
    params = musicvae.initialize(config, jax.random.key(1))
    z_BZ = jax.random.normal(jax.random.key(2), (ROWS, config.latent_size))
    return config, params, z_BZ, jax.random.split(jax.random.key(3), ROWS)


@pytest.fixture(scope="module")
def everything(tiny):
    """All rows and parts at temperature 1, decoded at once."""
    config, params, z_BZ, keys_B = tiny
    return np.asarray(sampler.sample(config, params, z_BZ, keys_B, 1.0, PARTS))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_tokens_are_the_simple_samplers(tiny, everything, part, temperature):
    """Of all rows. Where two scores differ by less than float32 can tell, either token will do."""
    config, params, z_BZ, keys_B = tiny
    found = everything[:, :, PARTS.index(part)]
    if temperature != 1:
        found = np.asarray(sampler.sample(config, params, z_BZ, keys_B, temperature, PARTS))[:, :, PARTS.index(part)]
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    z_BZ = np.asarray(z_BZ, np.float64)
    scores_BLV = simple(exact, z_BZ, keys_B, temperature, part, told=found)
    chosen_BL = np.take_along_axis(scores_BLV, found[..., None], -1)[..., 0]
    assert (scores_BLV.max(-1) - chosen_BL).max() < 2e-5
    # Where all tokens before are the same, the next one is; so by induction all of them are.
    assert (scores_BLV.argmax(-1) != found).sum() <= 1


@pytest.mark.parametrize("part", PARTS)
def test_teacher_forcing_gives_the_scores_that_tokens_were_sampled_from(tiny, everything, part):
    _, params, z_BZ, keys_B = tiny
    forced = musicvae.logits(params, jnp.asarray(everything[:4]), z_BZ[:4], (part,))[part]
    found = everything[:4, :, PARTS.index(part)]
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    logits_BLV = simple(exact, np.asarray(z_BZ[:4], np.float64), keys_B[:4], 0.0, part, told=found)
    np.testing.assert_allclose(forced, logits_BLV, atol=1e-4)


def test_greedy_tokens_are_the_references(golden):
    config, params = porting.port(golden / "musicvae")
    params = jax.tree.map(jnp.asarray, params)
    inputs, outputs = (np.load(golden / "musicvae" / f"{name}.npz") for name in ("inputs", "outputs"))
    keys_B = jax.random.split(jax.random.key(0), 6)
    for z_BZ, name in ((inputs["z_fixed"], "greedy"), (outputs["z_post"], "greedy_post")):
        found = sampler.sample(config, params, z_BZ, keys_B, 0, PARTS)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, outputs[f"{name}/tokens"])


PART_SETS = [parts for count in (1, 2, 3) for parts in itertools.permutations(PARTS, count)]


@pytest.mark.parametrize("parts", PART_SETS, ids=",".join)
def test_a_part_does_not_depend_on_the_others(tiny, everything, parts):
    config, params, z_BZ, keys_B = tiny
    columns = [PARTS.index(part) for part in parts]
    found = sampler.sample(config, params, z_BZ[:3], keys_B[:3], 1.0, parts)  # all bars at once
    np.testing.assert_array_equal(found, everything[:3][:, :, columns])
    if list(parts) == sorted(parts):  # each set once: orders compile anew
        found = sampler.sample(config, params, z_BZ[:19], keys_B[:19], 1.0, parts)
        np.testing.assert_array_equal(found, everything[:19][:, :, columns])


def test_a_row_does_not_depend_on_the_batch(tiny, everything):
    config, params, z_BZ, keys_B = tiny
    model = sampler.Sampler(config, params)
    for start, stop in ((0, 1), (17, 18), (69, 70), (3, 11), (5, 14), (0, 33), (6, 70), (5, 70)):
        found = model(z_BZ[start:stop], keys_B[start:stop], 1.0, PARTS)
        np.testing.assert_array_equal(found, everything[start:stop])


def test_devices_change_nothing(tiny, everything):
    config, params, z_BZ, keys_B = tiny
    devices = jax.local_devices()
    assert len(devices) == 2
    for count in (1, 2):
        model = sampler.Sampler(config, params, devices=devices[:count])
        np.testing.assert_array_equal(model(z_BZ, keys_B, 1.0, PARTS), everything)
    found = sampler.sample(config, params, z_BZ[:8], keys_B[:8], 1.0, PARTS, devices=devices[1:])
    assert found.devices() == {devices[1]}
    np.testing.assert_array_equal(found, everything[:8])


def test_noise_is_the_rows_own(tiny):
    config, params, z_BZ, keys_B = tiny
    same = jnp.repeat(z_BZ[:1], 3, axis=0)
    found = np.asarray(sampler.sample(config, params, same, keys_B[jnp.array([0, 1, 0])], 1.0))
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(found[0], found[2])


def test_a_temperature_for_each_part_and_row(tiny, everything):
    config, params, z_BZ, keys_B = tiny
    z_BZ, keys_B = z_BZ[:4], keys_B[:4]
    call = functools.partial(sampler.sample, config, params, z_BZ, keys_B, parts=PARTS)
    greedy = np.asarray(call(temperature=0.0))
    by_part = np.asarray(call(temperature=(0.0, 1.0, 0.0)))
    np.testing.assert_array_equal(by_part[:, :, 1], everything[:4, :, 1])
    np.testing.assert_array_equal(by_part[:, :, [0, 2]], greedy[:, :, [0, 2]])
    by_row = np.asarray(call(temperature=np.array([[0.0], [1.0], [0.0], [1.0]])))
    np.testing.assert_array_equal(by_row, np.where(np.array([0, 1, 0, 1])[:, None, None], everything[:4], greedy))


def test_top_p(tiny, everything):
    config, params, z_BZ, keys_B = tiny
    call = functools.partial(sampler.sample, config, params, z_BZ[:4], keys_B[:4], parts=PARTS)
    np.testing.assert_array_equal(call(1.0, top_p=1.0), everything[:4])
    np.testing.assert_array_equal(call(1.0, top_p=1e-6), call(0.0))


def test_nucleus_by_brute_force():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((20, 12)).astype(np.float32)
    kept = np.asarray(steps.nucleus(logits, jnp.full((20, 1), 0.7), jnp.float32(0.8)))
    p = np.asarray(jax.nn.softmax(logits / 0.7, axis=-1), np.float64)
    for row in range(20):
        order, total, expected = np.argsort(-p[row]), 0.0, set()
        while total < 0.8:
            expected.add(int(order[len(expected)]))
            total = p[row, list(expected)].sum()
        assert set(np.flatnonzero(kept[row])) == expected


def test_settings_and_batches_compile_nothing_anew(tiny):
    config, params, z_BZ, keys_B = tiny
    model = sampler.Sampler(config, params)
    for rows in (3, 19, ROWS):
        jax.block_until_ready(model(z_BZ[:rows], keys_B[:rows], 0.5))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    model(z_BZ[:3], keys_B[:3], 0.7)
    model(z_BZ[:19], keys_B[:19], (0.2, 0.9))
    model(z_BZ, keys_B, np.linspace(0, 1, ROWS)[:, None])
    assert not compiled
    model(z_BZ[:19], keys_B[:19], 0.7, ("bass",), top_p=0.5)
    assert compiled, "the listener hears compilations"


def test_noise_is_gumbels():
    keys_B = jax.random.split(jax.random.key(0), 4)
    noise = np.asarray(steps.gumbel_TBV(keys_B, jnp.full(4, 3), "drums"))
    assert noise.shape == (STEPS_PER_BAR, 4, 512)
    assert noise.mean() == pytest.approx(0.5772, abs=0.03)
    assert noise.std() == pytest.approx(np.pi / 6**0.5, abs=0.03)


def test_bfloat16_decodes_tokens_of_the_same_kind(tiny):
    config, params, z_BZ, keys_B = tiny
    exact = np.asarray(sampler.sample(config, params, z_BZ[:8], keys_B[:8], 0.0))
    rounded = np.asarray(sampler.sample(config, params, z_BZ[:8], keys_B[:8], 0.0, dtype=jnp.bfloat16))
    assert rounded.shape == exact.shape == (8, STEPS, 2)
    assert (rounded[:, :16] == exact[:, :16]).mean() > 0.8  # one flipped token changes what follows


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": ("bass", "piano")}, "parts must be some of"),
        ({"parts": ()}, "got none"),
        ({"parts": ("bass", "bass")}, "each once"),
        ({"temperature": -0.1}, "0 or more"),
        ({"temperature": float("nan")}, "0 or more"),
        ({"temperature": (0.1, 0.2, 0.3)}, "for each of 2 parts"),
        ({"top_p": 0.0}, r"in \(0, 1\]"),
        ({"z_BZ": np.zeros((4, 7), np.float32)}, "8 dimensions, got 7"),
    ],
)
def test_refusals(tiny, changed, message):
    config, params, z_BZ, keys_B = tiny
    arguments = {"z_BZ": z_BZ[:4], "keys_B": keys_B[:4], **changed}
    with pytest.raises(ConfigError, match=message):
        sampler.sample(config, params, **arguments)


def test_no_rows_give_no_tokens(tiny):
    config, params, z_BZ, keys_B = tiny
    assert sampler.sample(config, params, z_BZ[:0], keys_B[:0]).shape == (0, STEPS, 2)


def test_a_program_of_the_callers_may_sample(tiny):
    config, params, z_BZ, keys_B = tiny
    traced = jax.jit(lambda params, z_BZ, keys_B, t: sampler.sample(config, params, z_BZ, keys_B, t))
    for temperature in (0.0, 1.0):
        there = sampler.sample(config, params, z_BZ[:3], keys_B[:3], temperature)
        here = traced(params, z_BZ[:3], keys_B[:3], temperature)
        assert here.dtype == there.dtype
        assert (here == there).mean() > 0.99  # rounding may flip a token, and what follows it
