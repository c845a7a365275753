import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.models import lstm, lstm_scan

STEPS, ROWS, UNITS = 7, 5, 4
LENGTHS = np.array([7, 0, 1, 4, 6])


def arrays(seed=0):
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    return {
        "kernel_HG": 0.5 * draw(UNITS, 4 * UNITS),
        "gates_LBG": draw(STEPS, ROWS, 4 * UNITS),
        "share": draw(ROWS, 4 * UNITS),
        "carry": lstm.Carry(draw(ROWS, UNITS), draw(ROWS, UNITS)),
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_the_book(kernel_HG, gates_LBG, share, carry, lengths, reverse):
    """TensorFlow's cell, row by row and step by step, in float64."""
    outputs = np.zeros((STEPS, ROWS, UNITS))
    last_c, last_h = (np.array(x, np.float64) for x in carry)
    for row, length in enumerate(lengths):
        c, h = last_c[row], last_h[row]
        for t in range(length)[:: -1 if reverse else 1]:
            i, j, f, o = np.split(gates_LBG[t, row] + share[row] + h @ kernel_HG.astype(np.float64), 4)
            c = sigmoid(f + 1.0) * c + sigmoid(i) * np.tanh(j)
            h = sigmoid(o) * np.tanh(c)
            outputs[t, row] = h
        last_c[row], last_h[row] = c, h
    return (last_c, last_h), outputs


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_scan_is_tensorflows_cell(monkeypatch, reverse, lengths, wide):
    monkeypatch.setattr(lstm_scan, "WIDE", UNITS if wide else UNITS + 1)
    monkeypatch.setattr(lstm_scan, "_FEW_ROWS", ROWS)
    assert lstm_scan.in_columns(UNITS) == (wide and jax.default_backend() == "cpu")
    a = arrays()
    last, h_LBH = lstm_scan.scan(
        a["kernel_HG"], jnp.asarray(a["gates_LBG"]), a["carry"], lengths, reverse, share=jnp.asarray(a["share"])
    )
    expected_last, expected = by_the_book(**a, lengths=[STEPS] * ROWS if lengths is None else lengths, reverse=reverse)
    np.testing.assert_allclose(h_LBH, expected, atol=1e-6)
    np.testing.assert_allclose(last.c_BH, expected_last[0], atol=1e-6)
    np.testing.assert_allclose(last.h_BH, expected_last[1], atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("own_share", [True, False])
def test_gradient_equals_autodiff(reverse, lengths, own_share):
    a = jax.tree.map(jnp.asarray, arrays())
    if not own_share:
        a["share"] = a["share"][0]
    weights = jax.tree.map(jnp.asarray, arrays(1))

    def plain(kernel_HG, gates_LBG, share, carry):
        def body(carry, inputs):
            gates_BG, t = inputs
            new = lstm.step(kernel_HG, gates_BG + share, carry)
            if lengths is None:
                return new, new.h_BH
            inside = (t < lengths)[:, None]
            return jax.tree.map(lambda x, y: jnp.where(inside, x, y), new, carry), jnp.where(inside, new.h_BH, 0)

        return jax.lax.scan(body, carry, (gates_LBG, jnp.arange(STEPS)), reverse=reverse)

    def ours(kernel_HG, gates_LBG, share, carry):
        return lstm_scan.scan(kernel_HG, gates_LBG, carry, lengths, reverse, share=share)

    def loss(scan, a):
        last, h_LBH = scan(**a)
        weighted = jax.tree.map(lambda x, w: jnp.sum(x * w), last, weights["carry"])
        return sum(weighted) + jnp.sum(h_LBH * weights["gates_LBG"][..., :UNITS])

    expected = jax.grad(lambda a: loss(plain, a))(a)
    found = jax.grad(lambda a: loss(ours, a))(a)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=4e-6), found, expected)


def test_lanes_do_not_hear_each_other():
    one, two = arrays(0), arrays(1)
    lanes = [
        lstm_scan.Lane(a["kernel_HG"], jnp.asarray(a["gates_LBG"]), jnp.asarray(a["share"]), a["carry"], back)
        for a, back in ((one, False), (two, True))
    ]
    together = lstm_scan.scan_lanes(lanes, LENGTHS)
    for lane, found in zip(lanes, together, strict=True):
        (alone,) = lstm_scan.scan_lanes([lane], LENGTHS)
        jax.tree.map(np.testing.assert_array_equal, found, alone)


def test_backward_direction_starts_at_each_rows_last_step():
    a = arrays()
    layers = [
        {side: {"kernel": a["kernel_HG"], "bias": a["share"][0]} for side in ("forward", "backward")},
    ]
    gates = jnp.asarray(a["gates_LBG"])
    whole = lstm_scan.bidirectional(layers, {"forward": gates, "backward": gates}, LENGTHS)
    assert not whole[1].any(), "a row of length 0 gives zeros"
    for row, length in enumerate(LENGTHS):
        if length:
            own = gates[:length, row : row + 1]
            alone = lstm_scan.bidirectional(layers, {"forward": own, "backward": own[::-1]})
            np.testing.assert_allclose(whole[row, :UNITS], alone[0, :UNITS], atol=1e-6)
            np.testing.assert_allclose(whole[row, UNITS:], lstm_scan.bidirectional(
                layers, {"forward": own[::-1], "backward": own[::-1]})[0, :UNITS], atol=1e-6)  # fmt: skip


def test_bfloat16_rounds_the_products_alone():
    a = jax.tree.map(jnp.asarray, arrays())
    _, exact = lstm_scan.scan(a["kernel_HG"], a["gates_LBG"], a["carry"])
    last, rounded = lstm_scan.scan(a["kernel_HG"], a["gates_LBG"], a["carry"], dtype=jnp.bfloat16)
    assert rounded.dtype == last.c_BH.dtype == jnp.float32
    assert 0 < float(jnp.abs(exact - rounded).max()) < 0.02
    gradient = jax.grad(lambda kernel: lstm_scan.scan(kernel, a["gates_LBG"], a["carry"], dtype=jnp.bfloat16)[1].sum())(
        a["kernel_HG"]
    )
    assert gradient.dtype == jnp.float32
