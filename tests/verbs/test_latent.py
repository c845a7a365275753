"""`latent`: the files each action writes, and one sentence for what it cannot do."""

import json
import shutil

import numpy as np
import pytest

from jaxaccomp import cli, demos, latent
from jaxaccomp.generate import directions
from jaxaccomp.latent import songs
from jaxaccomp.music import midi, trio
from tests.latent.conftest import latents_folder, space  # noqa: F401


@pytest.fixture
def run(tiny_checkpoint, capsys):
    """Runs an action here with the tiny checkpoint: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main(["latent", *map(str, arguments), "--checkpoint", str(tiny_checkpoint)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def two_songs(tmp_path):
    """Songs of 32 bars in which all three parts play in every bar."""
    paths = []
    for number in range(2):
        random = np.random.default_rng(number)
        tokens_LP = np.zeros((512, 3), np.int32)
        tokens_LP[::4, 0] = random.integers(40, 60, 128)
        tokens_LP[::8, 1] = random.integers(10, 20, 64)
        tokens_LP[::2, 2] = random.integers(1, 5, 256)
        paths.append(tmp_path / f"song{number}.mid")
        midi.write(trio.to_score(tokens_LP, 100), paths[-1])
    return paths


def test_samples_are_files_that_the_decoder_would_write(run, space, tmp_path):  # noqa: F811
    code, said, _ = run("sample", "--count", 2, "--seed", 5, "--temperature", 1, "--out", tmp_path)
    assert code == 0
    assert "wrote 2 trios" in said
    expected = space.decode(space.prior(2, 5), seed=5, temperature=1.0, shared_noise=False)
    for number in range(2):
        found = midi.read(tmp_path / f"sample-{number:03d}.mid")
        assert found == trio.to_score(expected[number])


def test_reconstruction_reads_the_songs_own_windows(run, two_songs, tmp_path):
    found = songs.windows(two_songs[0])
    assert found.tokens_NLP.shape == (2, 256, 3)
    assert found.qpm == pytest.approx(100)
    code, said, _ = run("reconstruct", two_songs[0], "--out", tmp_path / "out")
    assert code == 0
    assert "2 windows of 16 bars" in said
    report = json.loads((tmp_path / "out" / "song0.json").read_text())
    assert report["agreement"].keys() == {"melody", "bass", "drums"}
    original = midi.read(tmp_path / "out" / "song0.original.mid")
    assert (songs.windows(two_songs[0]).tokens_NLP == trio.extract(original, limit=None, hop=16)).all()


@pytest.mark.parametrize("source", ["encoder", "surrogate"])
def test_an_interpolation_ends_at_both_songs(run, space, two_songs, tmp_path, source):  # noqa: F811
    flags = ("--steps", 3, "--from", source, "--out", tmp_path / "out")
    code, said, _ = run("interpolate", *two_songs, *flags)
    assert code == 0, said
    report = json.loads((tmp_path / "out" / "path.json").read_text())
    assert report["z_distance"] == sorted(report["z_distance"])
    ends = [songs.place(space, path, 0, source)[0] for path in two_songs]
    expected = space.decode(latent.interpolate(*ends, 3), temperature=0.5)
    for number in range(3):
        assert midi.read(tmp_path / "out" / f"step-{number:02d}.mid") == trio.to_score(expected[number], 100)


@pytest.mark.slow
def test_attributes_are_fitted_drawn_and_found_again(run, tiny_checkpoint, latents_folder, tmp_path):  # noqa: F811
    model = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    flags = ["--data", str(latents_folder), "--response", "4", "--plot", str(tmp_path / "response.png")]
    assert cli.main(["latent", "attribute", *flags, "--checkpoint", str(model)]) == 0
    found = directions.load(model)
    assert list(found.by_name["fills"].response) == ["-2", "-1", "0", "1", "2"]
    assert (tmp_path / "response.png").stat().st_size < 150_000
    flags = ["--data", str(latents_folder), "--out", str(tmp_path / "out"), "--checkpoint", str(model)]
    assert cli.main(["latent", "histogram", *flags]) == 0
    report = json.loads((tmp_path / "out" / "histogram.json").read_text())
    assert {"random 1", "principal 1", "bass_density"} <= report.keys()
    assert (tmp_path / "out" / "histogram.png").stat().st_size < 150_000


def test_refusals_are_one_sentence(run, two_songs, latents_folder, tmp_path):  # noqa: F811
    demo, out = demos.path("korobeiniki"), tmp_path / "out"
    asked = {
        ("sample", "--count", 0, "--out", out): (2, "--count must be at least 1"),
        ("interpolate", *two_songs, "--steps", 1, "--out", out): (2, "--steps must be at least 2"),
        ("interpolate", *two_songs, "--window", 2, "--out", out): (1, "has windows 0 to 1, so no window 2"),
        ("interpolate", demo, demo, "--out", out): (1, "from the melody alone: --from surrogate"),
        ("reconstruct", tmp_path / "none.mid", "--out", out): (1, "cannot be read"),
        ("attribute", "--data", latents_folder, "--plot", "x.png"): (2, "give --response N as well"),
        ("attribute", "--data", tmp_path): (1, str(tmp_path)),
    }
    for arguments, (code, words) in asked.items():
        got, _, said = run(*arguments)
        assert got == code, said
        assert words in said
        assert len(said.strip().splitlines()) == 1


def test_latents_of_another_checkpoint_are_refused(latents_folder, tmp_path, capsys):  # noqa: F811
    flags = ["--data", str(latents_folder), "--out", str(tmp_path), "--checkpoint", "trio-small"]
    assert cli.main(["latent", "histogram", *flags]) == 1
    assert "another MusicVAE" in capsys.readouterr().err
