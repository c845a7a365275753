"""The recipe of the default, from MIDI files to a checkpoint that plays, by the commands of its README."""

import contextlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from jaxaccomp import cli, demos
from jaxaccomp.data import shards
from jaxaccomp.music import midi
from jaxaccomp.weights import checkpoint
from tests.data.made_up_songs import HELD_OUT, make_corpus, song

RECIPE = Path(__file__).parents[1] / "recipes" / "trio-small"
SHORT = ["--steps", "2", "--batch-size", "4", "--evaluate-windows", "4", "--log-every", "1"]
FEW = {
    "vae": [*SHORT, "--encoder-sizes", "4", "--conductor-sizes", "5", "--decoder-sizes", "6", "--latent-size", "3"],
    "joint": SHORT,
    "correlation": ["--windows", "12", "--validation-windows", "4", "--batch-size", "4"],
    "guide": [*SHORT, "--harmony-sizes", "4", "--rhythm-sizes", "4"],
    "critic": ["--steps", "4", "--windows", "6", "--real-windows", "12", "--candidates", "2", "--batch-size", "4"],
    "evaluate": ["--limit", "4", "--samples", "2", "--batch-size", "4"],
}


def commands() -> list[list[str]]:
    """The recipe's commands, one list of words each."""
    block = re.findall(r"```bash\n(.*?)```", (RECIPE / "README.md").read_text(), flags=re.DOTALL)[0]
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def after_recipe(tmp_path_factory) -> Path:
    """The folder in which the recipe was followed, on few songs and for few steps."""
    folder = tmp_path_factory.mktemp("recipe")
    make_corpus(folder / "MIDI_DIR")
    song(30, 20).write(folder / "MIDI_DIR" / "listed.mid")
    (folder / "songs.csv").write_text("path,split\nlisted.mid,test\ndeep/song0.mid,validation\n")
    shutil.copytree(RECIPE, folder / "recipes" / "trio-small")
    shutil.copy(demos.path("korobeiniki"), folder / "SONG.mid")
    with contextlib.chdir(folder):
        for words in commands():
            match words:
                case ["python", "train.py", objective, *flags]:
                    assert cli.train([objective, *flags, *FEW[objective]]) == 0
                case ["python", "-m", "jaxaccomp", verb, *flags]:
                    assert cli.main([verb, *flags, *FEW.get(verb, [])]) == 0
                case _:
                    pytest.fail(f"a command of another kind: {words}")
        assert cli.infer(["SONG.mid", "--out", "out", "--checkpoint", "runs/critic/checkpoint"]) == 0
    return folder


def test_the_recipe_names_every_stage():
    stages = [words[2] if words[1] == "train.py" else words[3] for words in commands()]
    assert stages == ["windows", "vae", "joint", "joint", "correlation", "guide", "critic", "evaluate"]


@pytest.mark.slow
def test_the_recipe_ends_in_a_checkpoint_with_every_part_that_plays(after_recipe):
    config, params = checkpoint.load(after_recipe / "runs" / "critic" / "checkpoint")
    assert config.musicvae.latent_size == 3
    assert all(params[part] is not None for part in ("musicvae", "surrogate", "correlation", "guide", "critic"))
    assert any(track.is_drums for track in midi.read(after_recipe / "out" / "SONG.mid").tracks)


@pytest.mark.slow
def test_the_recipe_keeps_the_listed_songs_where_they_are_listed(after_recipe):
    songs = {line["files"][0]: line["split"] for line in shards.read_songs(shards.find(after_recipe / "DATA"))}
    assert songs["listed.mid"] == "test"
    assert songs["deep/song0.mid"] == "validation"
    assert set(songs) >= {f"{name}.mid" for name in HELD_OUT}


@pytest.mark.slow
def test_the_recipe_measures_what_it_made(after_recipe):
    report = json.loads((after_recipe / "figures.json").read_text())
    length = report["code_length"]
    assert length["total"] == pytest.approx(length["bass"] + length["drums"] + length["kl_to_surrogate"])
    assert report["accompanied"]["sources"]["default"]["measures"]["bass_notes_per_bar"] >= 0
