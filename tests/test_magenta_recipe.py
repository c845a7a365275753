"""A checkpoint from Magenta all the way, by the commands of docs/guides/magenta.md: port … infer."""

import contextlib
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxaccomp import cli, demos
from jaxaccomp.data import shards
from jaxaccomp.generate import sampler
from jaxaccomp.music import midi, trio
from jaxaccomp.weights import checkpoint, porting
from tests.data.made_up_songs import make_corpus

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "magenta.md"
SHORT = ["--steps", "2", "--batch-size", "4", "--evaluate-windows", "4", "--log-every", "1"]


def commands() -> list[list[str]]:
    """The recipe's commands, one list of words each."""
    (block,) = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def after_recipe(golden, tmp_path_factory):
    """The folder in which the recipe was followed, with the small golden checkpoint for Magenta's archive."""
    folder = tmp_path_factory.mktemp("magenta")
    make_corpus(folder / "midi")
    shutil.copy(demos.path("korobeiniki"), folder / "SONG.mid")
    with tarfile.open(folder / "hierdec-trio_16bar.tar", "w") as archive:
        for file in (golden / "musicvae").glob("model.ckpt*"):
            archive.add(file, file.name)
    with contextlib.chdir(folder):
        for words in commands():
            match words:
                case ["python", "train.py", *flags]:
                    assert cli.train(flags + SHORT) == 0
                case ["python", "infer.py", *flags]:
                    assert cli.infer(flags) == 0
                case ["python", "-m", "jaxaccomp", *flags]:
                    assert cli.main(flags) == 0
                case _:
                    pytest.fail(f"a command of another kind: {words}")
    return folder


def test_the_guide_names_every_stage():
    stages = [words[1] if words[1].endswith(".py") else words[3] for words in commands()]
    assert stages == ["port", "windows", "latents", "train.py", "infer.py"]


@pytest.mark.slow
def test_the_song_is_played_by_the_ported_model(after_recipe, golden):
    config, params = checkpoint.load(after_recipe / "run" / "checkpoint")
    expected_config, expected = porting.port(golden / "musicvae")
    assert config.musicvae == expected_config
    for name in ("encoder", "decoder_bass"):
        for ours, magentas in zip(
            jax.tree.leaves(params["musicvae"][name]), jax.tree.leaves(expected[name]), strict=True
        ):
            np.testing.assert_array_equal(ours, magentas)
    assert config.surrogate.sizes == expected_config.encoder_sizes
    assert shards.open_split(after_recipe / "latents", "train").metadata["latent_size"] == 8
    result = midi.read(after_recipe / "out" / "SONG.mid")
    assert any(track.is_drums for track in result.tracks)


@pytest.mark.slow
def test_the_ported_model_decodes_magentas_own_tokens(after_recipe, golden):
    """The checkpoint that came out of the recipe still plays what TensorFlow played."""
    config, params = checkpoint.load(after_recipe / "run" / "checkpoint")
    inputs, outputs = (np.load(golden / "musicvae" / f"{name}.npz") for name in ("inputs", "outputs"))
    keys_B = jax.random.split(jax.random.key(0), len(inputs["z_fixed"]))
    parts = ("melody", "bass", "drums")
    found = sampler.sample(config.musicvae, params["musicvae"], inputs["z_fixed"], keys_B, 0, parts)
    np.testing.assert_array_equal(found, outputs["greedy/tokens"])
    assert trio.to_score(np.asarray(found[0])).tracks
