import functools
import http.server
import itertools
import tarfile
import threading

import bundles
import jax
import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.weights import checkpoint, download, porting


@pytest.fixture(scope="module")
def archive(golden, tmp_path_factory):
    """The golden checkpoint packed like the published ones."""
    path = tmp_path_factory.mktemp("archive") / "trio.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted((golden / "musicvae").glob("model.ckpt-1234.*")):
            tar.add(file, f"trio/{file.name}")
    return path


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_from_an_archive_to_a_checkpoint(archive, tmp_path, capsys):
    assert cli.main(["port", str(archive), "--out", str(tmp_path / "trio")]) == 0
    assert "42 variables, 224,772 parameters" in capsys.readouterr().out
    config, params = checkpoint.load(tmp_path / "trio")
    ported_config, ported = porting.port(archive)
    assert config.musicvae == ported_config
    assert same(params["musicvae"], ported)
    provenance = checkpoint.record(tmp_path / "trio")["provenance"]
    assert provenance["source"] == str(archive)
    assert provenance["sha256"] == download.sha256_of(archive)


def test_from_an_address(archive, tmp_path, capsys):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=archive.parent)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/trio.tar"
        arguments = ["port", url, "--out", str(tmp_path / "trio"), "--downloads", str(tmp_path / "kept")]
        assert cli.main([*arguments, "--sha256", download.sha256_of(archive)]) == 0
        server.shutdown()
        thread.join()
    assert (tmp_path / "kept" / "trio.tar").read_bytes() == archive.read_bytes()
    assert checkpoint.record(tmp_path / "trio")["provenance"]["source"] == url
    assert same(checkpoint.load(tmp_path / "trio")[1]["musicvae"], porting.port(archive)[1])
    assert cli.main([*arguments, "--sha256", "0" * 64]) == 1
    assert "expected SHA-256 000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["nowhere/model"], 2, "give --out DIR, --verify GOLDEN, or both"),
        (["nowhere/model", "--out", "DIR"], 1, "holds no TensorFlow checkpoint"),
        (["http://127.0.0.1:1/", "--out", "DIR"], 1, "names no file"),
        (["ARCHIVE", "--out", "DIR", "--sha256", "12"], 1, "expected SHA-256 12, got"),
        (["ARCHIVE", "--verify", "DIR"], 1, "cannot read the reference's numbers"),
    ],
)
def test_refusals_are_one_sentence(archive, tmp_path, capsys, arguments, code, match):
    places = {"DIR": str(tmp_path / "out"), "ARCHIVE": str(archive)}
    assert cli.main(["port", *(places.get(word, word) for word in arguments)]) == code
    told = capsys.readouterr().err
    assert match in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_extra_variables(tmp_path, capsys, odd_config, variables_of):
    prefix = bundles.write(tmp_path / "model", variables_of(odd_config) | {"more": np.zeros(1, np.float32)})
    assert cli.main(["port", str(prefix), "--out", str(tmp_path / "out")]) == 1
    assert "more is not in this architecture" in capsys.readouterr().err
    assert cli.main(["port", str(prefix), "--out", str(tmp_path / "out"), "--ignore-extra"]) == 0


@pytest.mark.slow
def test_the_ported_model_is_tensorflows(golden, capsys):
    """Encoder, conductor, decoders, likelihoods, greedy tokens, loss, gradients, Adam: each within its bound."""
    folder = str(golden / "musicvae")
    code = cli.main(["port", folder, "--verify", folder])
    told = capsys.readouterr().out
    assert "too far" not in told, told
    assert code == 0
    assert told.count("| ok |") >= 20


def test_a_model_that_is_off_is_told(golden, tmp_path, capsys):
    """The comparison can fail: one bias of the ported model is moved by 1e-4."""
    from jaxaccomp.evaluation import parity

    config, params = porting.port(golden / "musicvae")
    params["mean"]["bias"] = params["mean"]["bias"] + np.float32(1e-4)
    inputs, outputs = (dict(np.load(golden / "musicvae" / f"{name}.npz")) for name in ("inputs", "outputs"))
    apply = parity.applier(config, params)
    rows = {row.quantity: row for row in itertools.islice(parity.forward(apply, inputs, outputs), 2)}
    assert rows["mean of z, full length"].difference > rows["mean of z, full length"].bound
    assert "**too far**" in parity.table(list(rows.values()))
