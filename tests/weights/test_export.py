"""What other programs get of a checkpoint: the arrays, and the guide's own examples, run as they stand there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxaccomp import cli
from jaxaccomp.models import surrogate
from jaxaccomp.weights import checkpoint, export

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "export.md"


def run(*arguments) -> int:
    return cli.main(["export", *map(str, arguments)])


def example(first_line: str, folder: Path) -> dict:
    """Runs the guide's Python block that begins with this line, on the files of `folder`; its names."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(first_line))
    for name in ("trio.npz", "trio.safetensors", "trio.zip"):
        block = block.replace(f'"{name}"', repr(str(folder / name)))
    names: dict = {}
    exec(compile(block, str(GUIDE), "exec"), names)
    return names


@pytest.mark.parametrize("name", ["trio.npz", "trio.safetensors"])
def test_all_arrays_come_back_under_their_names(tiny_checkpoint, tmp_path, capsys, name):
    assert run(tiny_checkpoint, "--out", tmp_path / "new" / name) == 0
    _, params = checkpoint.load(tiny_checkpoint)
    expected = {path: np.asarray(leaf) for path, leaf in flatten_dict(params, sep="/").items()}
    assert f"{len(expected)} arrays" in capsys.readouterr().out
    if name.endswith("npz"):
        found = dict(np.load(tmp_path / "new" / name, allow_pickle=False))
        told = json.loads(found.pop(export.METADATA).tobytes())
    else:
        from safetensors import safe_open

        with safe_open(tmp_path / "new" / name, "np") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            told = json.loads(file.metadata()[export.METADATA])
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        assert found[path].dtype == np.float32
        np.testing.assert_array_equal(found[path], array)
    assert told["fingerprint"] == checkpoint.fingerprint(tiny_checkpoint)
    assert {"jaxaccomp", "jax", "jaxlib"} <= told["versions"].keys()
    assert told["config"]["musicvae"]["latent_size"] == 8


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_the_guides_network_is_the_surrogate(tiny_checkpoint, tmp_path, framework):
    if framework == "torch":
        pytest.importorskip("torch")
    run(tiny_checkpoint, "--out", tmp_path / {"numpy": "trio.npz", "torch": "trio.safetensors"}[framework])
    names = example({"numpy": "import numpy as np\n\nweights", "torch": "import torch"}[framework], tmp_path)
    _, params = checkpoint.load(tiny_checkpoint)
    melody_BL = np.asarray(names["melody"], np.int32).reshape(-1, 256)
    melody_BL = np.concatenate([melody_BL, np.random.default_rng(0).integers(0, 90, (2, 256), np.int32)])
    expected = surrogate.encode(params["surrogate"], melody_BL)
    if framework == "numpy":
        found = [np.stack(rows) for rows in zip(*map(names["guess"], melody_BL), strict=True)]
    else:
        found = names["guess"](__import__("torch").as_tensor(melody_BL, dtype=__import__("torch").long))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, atol=1e-5)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tiny_checkpoint, tmp_path):
    out = tmp_path / "trio.npz"
    out.write_bytes(b"older")
    assert run(tiny_checkpoint, "--out", out) == 0
    assert np.load(out)[export.METADATA].size
    assert [path.name for path in tmp_path.iterdir()] == ["trio.npz"]

    def fail(file):
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(export.CheckpointError, match=r"trio\.npz: cannot be written \(no space left\)"):
        export.write(out, fail)
    assert np.load(out)[export.METADATA].size
    assert [path.name for path in tmp_path.iterdir()] == ["trio.npz"]


@pytest.mark.parametrize(
    ("name", "flags", "code", "words"),
    [
        ("trio.bin", (), 2, "its suffix stands for no format; give --format npz|safetensors|stablehlo"),
        ("", (), 2, "is a folder"),
        ("file/trio.npz", (), 1, "cannot be written"),
    ],
)
def test_refusals_are_one_sentence(tiny_checkpoint, tmp_path, capsys, name, flags, code, words):
    (tmp_path / "file").write_text("")
    flags = flags or (("--format", "npz") if not name else ())
    assert run(tiny_checkpoint, "--out", tmp_path / name, *flags) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_a_checkpoint_that_is_not_there_is_named(tmp_path, capsys):
    assert run("trio-large", "--out", tmp_path / "trio.npz") == 1
    assert "trio-large: no such checkpoint" in capsys.readouterr().err
