import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.config import PRESETS
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.weights import porting


@pytest.fixture(scope="module")
def call(reference):
    """The reference's model under jit: `call("encode", …)`."""
    config, params = reference
    model = MusicVAE(config)

    @functools.partial(jax.jit, static_argnames=("method", "parts"))
    def run(*arrays, method, **named):
        return model.apply({"params": params}, *arrays, method=method, **named)

    return lambda method, *arrays, **named: run(*arrays, method=method, **named)


@pytest.fixture(scope="module")
def forced(call, inputs, outputs):
    """Teacher-forced logits for both latents."""
    latents = {"tf_post": outputs["z_post"], "tf_fixed": inputs["z_fixed"]}
    return {name: call("logits", inputs["tokens"], z_BZ) for name, z_BZ in latents.items()}


@pytest.mark.parametrize("lengths", ["full", "var", None])
def test_posterior_is_the_references(call, inputs, outputs, lengths):
    suffix = "_var" if lengths == "var" else ""
    found = call("encode", inputs["tokens"], None if lengths is None else inputs[f"lengths_{lengths}"])
    np.testing.assert_allclose(found.mean_BZ, outputs["mu" + suffix], atol=1e-5)
    np.testing.assert_allclose(found.scale_BZ, outputs["sigma" + suffix], atol=1e-5)
    np.testing.assert_allclose(musicvae.kl_B(found), outputs["kl" + suffix], rtol=1e-5)


def test_what_lies_past_the_length_is_not_heard(call, inputs):
    tokens, lengths = inputs["tokens"], inputs["lengths_var"]
    past = np.arange(256)[None, :, None] >= lengths[:, None, None]
    assert past.any()
    changed = np.where(past, (tokens + 7) % 90, tokens).astype(np.int32)
    found = [call("encode", each, lengths) for each in (tokens, changed)]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_length_zero_gives_the_heads_biases(call, inputs, reference):
    row = int(np.argmin(inputs["lengths_var"]))
    assert inputs["lengths_var"][row] == 0
    found = call("encode", inputs["tokens"], inputs["lengths_var"])
    np.testing.assert_allclose(found.mean_BZ[row], reference[1]["mean"]["bias"], atol=1e-7)


@pytest.mark.parametrize("which", ["tf_post", "tf_fixed"])
def test_decoder_is_the_references(call, forced, inputs, outputs, which):
    z_BZ = outputs["z_post"] if which == "tf_post" else inputs["z_fixed"]
    np.testing.assert_allclose(call("conduct", z_BZ), outputs[f"{which}/conductor"], atol=1e-5)
    nll = musicvae.nll_BSP(forced[which], inputs["tokens"])
    np.testing.assert_allclose(nll, outputs[f"{which}/nll_bar_track"], atol=1e-3)
    np.testing.assert_allclose(nll.sum(1), outputs[f"{which}/nll_track"], rtol=1e-5)


def test_logits_are_the_references(forced, outputs):
    for part in PARTS:
        np.testing.assert_allclose(forced["tf_fixed"][part][:2], outputs[f"tf_fixed/logits_{part}"], atol=1e-4)


def test_bars_of_fewer_steps(forced, inputs, outputs):
    nll = musicvae.nll_BSP(forced["tf_fixed"], inputs["tokens"], inputs["seg_lengths"])
    np.testing.assert_allclose(nll, outputs["seg/nll_bar_track"], atol=1e-3)


def test_a_part_alone_is_the_same(call, forced, inputs):
    for parts in (("bass",), ("drums", "melody")):
        found = call("logits", inputs["tokens"], inputs["z_fixed"], parts=parts)
        assert tuple(sorted(found)) == tuple(sorted(parts))
        for part in parts:
            np.testing.assert_array_equal(found[part], forced["tf_fixed"][part])


def test_a_dropped_token_is_the_zero_vector_to_the_next_step_alone(call, inputs):
    tokens, z_BZ = inputs["tokens"], inputs["z_fixed"]
    kept = np.ones_like(tokens, bool)
    full = call("logits", tokens, z_BZ, kept_BLP=kept)
    kept = kept.copy()  # JAX may still be reading the other one
    kept[0, 20, 1] = False
    dropped = call("logits", tokens, z_BZ, kept_BLP=kept)
    differs = np.asarray((full["bass"] != dropped["bass"]).any(-1))
    assert differs[0, 21:32].any()  # within the bar the state remembers
    assert not differs[0, :21].any()
    assert not differs[0, 32:].any()  # the next bar starts anew, and hears token 31
    assert not differs[1:].any()
    assert all(np.array_equal(full[part], dropped[part]) for part in ("melody", "drums"))
    # At the song's first step there is nothing to drop; where all is dropped, the tokens do not matter.
    nothing = np.zeros_like(kept)
    other = (tokens + 1) % 90
    np.testing.assert_array_equal(
        call("logits", tokens, z_BZ, kept_BLP=nothing)["drums"],
        call("logits", other.astype(np.int32), z_BZ, kept_BLP=nothing)["drums"],
    )


def loss(params, training):
    tokens = jnp.asarray(training["tokens"])
    posterior = musicvae.encode(params, tokens)
    logits = musicvae.logits(params, tokens, posterior.mean_BZ + posterior.scale_BZ * training["eps"])
    cost_B = musicvae.kl_cost_B(musicvae.kl_B(posterior), training["free_bits"])
    return jnp.mean(musicvae.nll_BSP(logits, tokens).sum((1, 2))) + 0.2 * jnp.mean(cost_B)


def test_loss_and_every_gradient_are_the_references(reference, training):
    value, gradient = jax.jit(jax.value_and_grad(loss))(reference[1], training)
    np.testing.assert_allclose(value, training["step1234/loss"], rtol=1e-6)
    named = porting.names_from_params(gradient)
    assert len(named) == 42
    for name, found in named.items():
        expected = training[f"grad/{name}"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)
    assert not np.asarray(gradient["conductor"]["layer_0"]["kernel"])[0].any(), "the row of the constant zero"


@pytest.fixture
def double():
    """Lets JAX compute in float64, as for a comparison beyond float32's rounding."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_float64_is_allowed_parameters_decide(reference, training, double, dtype):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), reference[1])
    value, gradient = jax.jit(jax.value_and_grad(loss))(params, training)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, training["step1234/loss"], rtol=3e-7)
    for name, found in porting.names_from_params(gradient).items():
        assert found.dtype == dtype, name
        expected = training[f"grad/{name}"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)


def test_bfloat16_is_near(reference, inputs, forced):
    config, params = reference
    model = MusicVAE(config, dtype=jnp.bfloat16)
    arguments = ({"params": params}, inputs["tokens"], inputs["z_fixed"])
    found = jax.jit(functools.partial(model.apply, method="logits"))(*arguments)
    for part in PARTS:
        assert found[part].dtype == jnp.float32
        off = float(jnp.abs(found[part] - forced["tf_fixed"][part]).max())
        assert 1e-4 < off < 1


@pytest.mark.parametrize("method", ["encode", "conduct", "logits"])
def test_full_size_has_the_originals_parameters(method):
    config = PRESETS["hierdec-trio_16bar"]
    tokens, z = jnp.zeros((2, 256, 3), jnp.int32), jnp.zeros((2, config.latent_size))
    arguments = {"encode": (tokens, jnp.zeros(2, jnp.int32)), "conduct": (z,), "logits": (tokens, z)}[method]
    init = functools.partial(MusicVAE(config).init, method=method)
    params = jax.eval_shape(init, jax.random.key(0), *arguments)["params"]
    leaves = jax.tree.leaves(params)
    assert len(leaves) == 42
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == 230_975_156
    found = jax.tree.map(lambda leaf: leaf.shape, params)
    assert flax.traverse_util.flatten_dict(found) == flax.traverse_util.flatten_dict(musicvae.shapes(config))


@pytest.mark.slow
def test_initialisation_through_flax_makes_a_model_that_runs():
    config = PRESETS["tiny"]
    model, tokens = MusicVAE(config), jnp.zeros((1, 256, 3), jnp.int32)
    variables = model.init(jax.random.key(0), jnp.zeros((1, config.latent_size)), method="conduct")
    posterior = model.apply(variables, tokens, method="encode")
    logits = model.apply(variables, tokens, posterior.mean_BZ, method="logits")
    assert {part: logits[part].shape for part in PARTS} == {part: (1, 256, VOCABULARY[part]) for part in PARTS}
    assert all(bool(jnp.isfinite(each).all()) for each in logits.values())


def test_a_parameter_of_another_shape_is_refused(reference):
    config, params = reference
    wrong = {**params, "mean": {**params["mean"], "bias": jnp.zeros(9)}}
    with pytest.raises(flax.errors.ScopeParamShapeError, match="mean"):
        MusicVAE(config).apply({"params": wrong}, jnp.zeros((1, 8)), method="conduct")
