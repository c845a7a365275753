import jax
import jax.numpy as jnp
import numpy as np

from jaxaccomp.models import lstm


def test_token_gates_are_a_product_with_one_hots():
    generator = np.random.default_rng(0)
    table = jnp.asarray(generator.standard_normal((6, 8)), jnp.float32)
    tokens = jnp.asarray([[0, 5, 5], [3, -1, 2]])
    weights = jnp.asarray(generator.standard_normal((2, 3, 8)), jnp.float32)
    one_hot = jax.nn.one_hot(tokens, 6)  # of -1: zeros
    np.testing.assert_allclose(lstm.token_gates(table, tokens), one_hot @ table, atol=1e-6)
    found = jax.grad(lambda table: jnp.sum(lstm.token_gates(table, tokens) * weights))(table)
    np.testing.assert_allclose(found, jnp.einsum("abv,abg->vg", one_hot, weights), atol=1e-6)


def test_states_are_split_as_c_h_of_each_layer():
    first, second = lstm.carries_from(jnp.arange(10.0)[None], (2, 3))
    np.testing.assert_array_equal(first.c_BH, [[0, 1]])
    np.testing.assert_array_equal(first.h_BH, [[2, 3]])
    np.testing.assert_array_equal(second.c_BH, [[4, 5, 6]])
    np.testing.assert_array_equal(second.h_BH, [[7, 8, 9]])
