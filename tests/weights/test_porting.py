import tarfile

import bundles
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxaccomp.config import PRESETS, MusicVAEConfig
from jaxaccomp.errors import PortingError
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.weights import porting


def same(a, b) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: x.shape == y.shape and x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def test_the_original_has_42_rows_and_230_975_156_parameters():
    rows = porting.table(PRESETS["hierdec-trio_16bar"])
    assert len(rows) == len({row.source for row in rows}) == len({row.path for row in rows}) == 42
    assert sum(int(np.prod(row.shape)) for row in rows) == 230_975_156
    by_name = {row.source: row.shape for row in rows}
    assert by_name["encoder/cell_1/bidirectional_rnn/bw/multi_rnn_cell/cell_0/lstm_cell/kernel"] == (6144, 8192)
    assert by_name["decoder/hierarchical_level_0/cell_0/lstm_cell/kernel"] == (1025, 4096)
    assert by_name["core_decoder/core_decoder_2/decoder/multi_rnn_cell/cell_0/lstm_cell/kernel"] == (2560, 4096)


@pytest.mark.parametrize("method", ["encode", "conduct", "logits"])
def test_the_table_is_what_the_model_asks_for(odd_config, method):
    """Shapes only: nothing of the full size is allocated."""
    for config in (PRESETS["hierdec-trio_16bar"], odd_config):
        tokens_BLP = jax.ShapeDtypeStruct((1, 256, 3), np.int32)
        z_BZ = jax.ShapeDtypeStruct((1, config.latent_size), np.float32)
        arguments = {"encode": (tokens_BLP,), "conduct": (z_BZ,), "logits": (tokens_BLP, z_BZ)}[method]
        key = jax.eval_shape(jax.random.key, 0)
        found = jax.eval_shape(lambda *a, c=config: MusicVAE(c).init(*a, method=method), key, *arguments)["params"]
        assert {p: leaf.shape for p, leaf in flatten_dict(found, sep="/").items()} == {
            r.path: r.shape for r in porting.table(config)
        }


def test_the_golden_names_are_the_tables(golden):
    """Names and shapes that TensorFlow wrote: 42, their two slots each, and three counters."""
    lines = (golden / "musicvae" / "checkpoint_vars.txt").read_text().splitlines()
    config, _ = porting.port(golden / "musicvae")
    sources = [row.source for row in porting.table(config)]
    slots = [f"{source}/{slot}" for source in sources for slot in ("Adam", "Adam_1")]
    counters = ["global_step", "beta1_power", "beta2_power"]
    assert sorted(line.split("\t")[0] for line in lines) == sorted(sources + slots + counters)


def test_there_and_back(golden):
    config, params = porting.port(golden / "musicvae")
    again = porting.params_from_names(porting.names_from_params(params), porting.table(config))
    assert same(params, again)
    assert config == MusicVAEConfig(
        encoder_sizes=(16, 16), conductor_sizes=(24, 24), decoder_sizes=(24, 24), latent_size=8
    )


def test_any_sizes_through_a_file_and_back(tmp_path, odd_config, variables_of):
    variables = variables_of(odd_config)
    prefix = bundles.write(tmp_path / "model" / "model.ckpt-7", variables, shards=3)
    config, params = porting.port(prefix)
    assert config == odd_config
    named = porting.names_from_params(params)
    assert set(named) == {row.source for row in porting.table(odd_config)}
    for name, values in named.items():
        np.testing.assert_array_equal(values, variables[name], strict=True)
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(tmp_path / "model", "somewhere/model")
    for path in (tmp_path / "model.tar", tmp_path / "model"):
        other_config, other = porting.port(path)
        assert other_config == config
        assert same(params, other)


@pytest.mark.parametrize("layers", [1, 3])
def test_any_number_of_layers(tmp_path, variables_of, layers):
    sizes = tuple(range(4, 4 + layers))
    config = MusicVAEConfig(encoder_sizes=sizes, conductor_sizes=sizes, decoder_sizes=sizes[::-1], latent_size=3)
    ported, params = porting.port(bundles.write(tmp_path / "model", variables_of(config)))
    assert ported == config
    assert len(flatten_dict(params)) == 42 + 12 * (layers - 2)


def test_all_differences_are_told_at_once(tmp_path, odd_config, variables_of):
    variables = variables_of(odd_config)
    del variables["encoder/mu/bias"]
    del variables["encoder/sigma/kernel"]
    variables["encoder/gamma/kernel"] = np.zeros((2, 2), np.float32)
    variables["core_decoder/core_decoder_3/decoder/output_projection/bias"] = np.zeros(9, np.float32)
    wrong = "decoder/hierarchical_level_0/cell_1/lstm_cell/kernel"
    variables[wrong] = variables[wrong].T
    half = "core_decoder/core_decoder_1/decoder/output_projection/kernel"
    variables[half] = variables[half].astype(np.float16)
    with pytest.raises(PortingError) as caught:
        porting.port(bundles.write(tmp_path / "model", variables))
    message = str(caught.value)
    for part in (
        "6 differences",
        "encoder/mu/bias is missing",
        "encoder/sigma/kernel is missing",
        "encoder/gamma/kernel is not in this architecture",
        "core_decoder/core_decoder_3/decoder/output_projection/bias is not in this architecture",
        f"{wrong} should have shape [10, 24], has [24, 10]",
        f"{half} should be float32, is float16",
    ):
        assert part in message


def test_extra_variables_can_be_left_out(tmp_path, odd_config, variables_of):
    extra = {"learning_rate": np.array(1, np.float32)}
    prefix = bundles.write(tmp_path / "model", variables_of(odd_config) | extra)
    with pytest.raises(PortingError, match=r"\(1 differences\): learning_rate is not in this architecture; .* ignore"):
        porting.port(prefix)
    assert porting.port(prefix, ignore_extra=True)[0] == odd_config


def test_a_name_used_twice_is_told(odd_config, variables_of, tmp_path):
    """No checkpoint can do this, only a wrong table."""
    rows = list(porting.table(odd_config))
    rows[1] = rows[1]._replace(source=rows[0].source)
    rows[2] = rows[2]._replace(path=rows[3].path)
    from jaxaccomp.weights.tensorbundle import Bundle

    bundle = Bundle(bundles.write(tmp_path / "model", variables_of(odd_config)))
    with pytest.raises(PortingError) as caught:
        porting.check(rows, bundle.entries, "here")
    assert f"{rows[0].source} is read twice" in str(caught.value)
    assert f"{rows[3].path} is filled twice" in str(caught.value)


def test_another_architecture_is_refused_with_what_it_lacks(tmp_path):
    flat = {"decoder/multi_rnn_cell/cell_0/lstm_cell/kernel": np.zeros((3, 8), np.float32)}
    with pytest.raises(PortingError, match=r"encoder/mu/kernel.* are missing among its 1 variables"):
        porting.port(bundles.write(tmp_path / "model", flat))


def test_one_contradicting_shape_does_not_mislead_the_sizes(tmp_path, odd_config, variables_of):
    name = "encoder/cell_0/bidirectional_rnn/fw/multi_rnn_cell/cell_0/lstm_cell/bias"
    variables = variables_of(odd_config) | {name: np.zeros(400, np.float32)}
    with pytest.raises(PortingError, match=rf"\(1 differences\): {name} should have shape \[12\], has \[400\]"):
        porting.port(bundles.write(tmp_path / "model", variables))
