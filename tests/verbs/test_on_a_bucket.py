"""Every verb's way on a bucket: from songs there to datasets, music and checkpoints there, with the bytes made here."""

import emulators
import numpy as np
import pytest

from jaxaccomp import cli, remote
from jaxaccomp.music import midi
from jaxaccomp.weights import checkpoint

pytestmark = pytest.mark.slow


def song(bars: int) -> midi.Score:
    """A note of melody and bass and a drum on about every other sixteenth."""
    parts = []
    for place, (name, channel, program, low) in enumerate(
        [("lead", 0, 5, 60), ("bass", 1, 33, 40), ("kit", midi.DRUM_CHANNEL, 0, 35)]
    ):
        random = np.random.default_rng(place)
        starts = np.union1d(np.flatnonzero(random.random(16 * bars) < 0.5), [0, 16 * bars - 1])
        notes = np.zeros(len(starts), midi.NOTE)
        notes["start"], notes["end"], notes["velocity"] = starts, starts + 1, 90
        notes["pitch"] = low + random.integers(0, 12, len(starts))
        parts.append(midi.Part(name, channel, program, notes))
    return midi.Score.build(4, parts)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A folder of a bucket, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch, emulators.gcs() as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield f"gs://{emulators.BUCKET}/verbs"


def test_songs_there_become_windows_latents_and_music_there(bucket, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "songs").mkdir()
    song(18).write(tmp_path / "songs" / "a.mid")
    remote.send(tmp_path / "songs", f"{bucket}/songs")
    remote.send(tiny_checkpoint, f"{bucket}/model")
    for where, model in ((bucket, f"{bucket}/model"), (str(tmp_path), str(tiny_checkpoint))):
        verbs = [
            ["windows", f"{where}/songs", "--out", f"{where}/windows", "--workers", "1"],
            ["latents", "--windows", f"{where}/windows", "--checkpoint", model, "--out", f"{where}/latents"],
            ["infer", f"{where}/songs/a.mid", "--checkpoint", model, "--out", f"{where}/played", "--fast"],
            ["describe", f"{where}/latents"],
        ]
        for verb in verbs:
            assert cli.main(verb) == 0, verb
        said = capsys.readouterr().out
        assert f"wrote {where}/played/a.mid" in said
        assert f"place  {where}/latents" in said
    made = {
        file.relative_to(tmp_path).as_posix(): file.read_bytes()
        for folder in ("windows", "latents", "played")
        for file in (tmp_path / folder).rglob("*")
        if file.suffix == ".mid" or "-of-" in file.name
    }
    assert len(made) == 3
    assert made == {name: remote.here(f"{bucket}/{name}", "tests").read_bytes() for name in made}


def test_a_ported_checkpoint_goes_there_and_is_described(bucket, capsys):
    assert cli.main(["port", "tests/golden/musicvae", "--out", f"{bucket}/ported"]) == 0
    fingerprint = checkpoint.fingerprint(f"{bucket}/ported")
    assert cli.main(["describe", f"{bucket}/ported"]) == 0
    assert capsys.readouterr().out.count(fingerprint) == 2


def test_one_song_goes_to_a_folder_there(bucket, tiny_checkpoint, capsys):
    arguments = ["infer", "--demo", "korobeiniki", "--checkpoint", str(tiny_checkpoint)]
    assert cli.main([*arguments, "--out", f"{bucket}/song.mid"]) == 2
    assert "on a bucket --out is a folder" in capsys.readouterr().err
