"""What the band goes by beside the melody: steering, another song's manner, a part that is given."""

import shutil

import numpy as np
import pytest

import jaxaccomp
from jaxaccomp import cli, demos
from jaxaccomp.errors import CheckpointError, ConfigError, MidiError
from jaxaccomp.generate import conditioning, directions
from jaxaccomp.generate.directions import Direction, Directions
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.music import midi, trio
from jaxaccomp.weights import checkpoint

ONCE = {"candidates": 1, "retries": 0}


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    """The tiny checkpoint with two directions beside it."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("steered") / "model")
    made_up = {
        name: Direction(title=name, step=tuple(np.eye(8)[axis].tolist()), mean=0.0, deviation=1.0, r2=1.0)
        for axis, name in enumerate(("bass_density", "fills"))
    }
    directions.save(Directions(checkpoint.fingerprint(folder, "musicvae"), made_up), folder / directions.FILE)
    return folder


@pytest.fixture(scope="module")
def band(model):
    return jaxaccomp.load(model)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """A trio of 32 bars: melody, bass and drums, each a chunk of its own."""
    random = np.random.default_rng(0)
    tokens_LP = np.zeros((512, 3), np.int32)
    tokens_LP[::4, 0] = random.integers(40, 60, 128)
    tokens_LP[::8, 1] = random.integers(10, 20, 64)
    tokens_LP[::2, 2] = random.integers(1, 512, 256)
    path = tmp_path_factory.mktemp("songs") / "trio.mid"
    midi.write(trio.to_score(tokens_LP), path)
    return path


def test_steering_moves_every_latent_by_its_steps_and_no_melody(band, song):
    plain, steered = (band.accompany(song, steer=steer, **ONCE)[0] for steer in ((), ("bass-density=2", "fills=-0.5")))
    moved_NZ = np.zeros_like(plain.z)
    moved_NZ[:, 0], moved_NZ[:, 1] = 2, -0.5
    np.testing.assert_allclose(steered.z - plain.z, moved_NZ, atol=1e-5)
    np.testing.assert_array_equal(steered.windows[:, :, 0], plain.windows[:, :, 0])
    assert steered.score.data[: 14 + 20] == plain.score.data[: 14 + 20]


def test_what_cannot_be_steered_is_named(band, tiny_checkpoint, song):
    with pytest.raises(ConfigError, match="no direction 'loudness'; there are bass_density, fills"):
        band.accompany(song, steer=("loudness=1",))
    with pytest.raises(ConfigError, match="expected NAME=NUMBER, such as bass_density=1, got 'fills'"):
        PlayOptions.of(steer=["fills"])
    with pytest.raises(CheckpointError, match="has no attribute directions"):
        jaxaccomp.load(tiny_checkpoint).accompany(song, steer=("fills=1",))


def test_all_of_a_manner_played_to_its_own_melody_is_the_reference(band, song):
    windows_NLP = conditioning.reference_windows(song)[:1]
    encode, guess = band.params["musicvae"], band._encode_melody
    found = conditioning.manner(windows_NLP, encode, guess)
    posterior = guess(windows_NLP[:, :, 0])
    moved = conditioning.apply_manner(posterior, found, 1.0)
    expected = musicvae.encode(encode, windows_NLP)
    np.testing.assert_allclose(moved.mean_BZ, expected.mean_BZ, atol=1e-4)
    assert (moved.scale_BZ <= np.asarray(posterior.scale_BZ) + 1e-6).all()


def test_nothing_of_a_manner_changes_nothing(band, song):
    plain = band.accompany(demos.path("korobeiniki"), **ONCE)[0]
    like = band.accompany(demos.path("korobeiniki"), like=str(song), like_amount=0.0, **ONCE)[0]
    np.testing.assert_allclose(like.z, plain.z, atol=1e-5)
    assert np.abs(band.accompany(demos.path("korobeiniki"), like=str(song), **ONCE)[0].z - plain.z).max() > 0.01


def test_a_mix_of_manner_and_chance_keeps_the_width_of_a_draw():
    posterior = Posterior(np.zeros((1, 4), np.float32), np.full((1, 4), 2.0, np.float32))
    found = conditioning.Manner(np.ones(4, np.float32), np.full(4, 2.0, np.float32))
    moved = conditioning.apply_manner(posterior, found, 0.6)
    np.testing.assert_allclose(moved.mean_BZ, 1.2, rtol=1e-6)
    np.testing.assert_allclose(moved.scale_BZ, 2.0, rtol=1e-6)


def test_a_reference_without_a_band_is_refused():
    with pytest.raises(MidiError, match="no track plays the bass"):
        conditioning.reference_windows(demos.path("korobeiniki"))


@pytest.mark.parametrize(("given", "column"), [("bass", 1), ("drums", 2)])
def test_a_given_part_stays_byte_for_byte(band, song, given, column):
    original, take = midi.read(song), band.accompany(song, given=given, **ONCE)[0]
    name = {"bass": "bass", "drums": "drums"}[given]
    mine = next(track for track in original.tracks if track.name == name)
    start, end = original.header.chunks[mine.chunk]
    assert original.data[start - 8 : end] in take.score.data
    np.testing.assert_array_equal(take.windows[:, :, column], conditioning.reference_windows(song)[:, :, column])
    assert sum(track.is_drums for track in take.score.tracks) == 1


def test_a_guided_bass_goes_with_the_given_drums(band, song, monkeypatch):
    """The guide is told the song's own drums, and none are sampled."""
    told = []

    def advise(config, params, melody_BL, drums_BL, temperature, weight):
        told.append(np.asarray(drums_BL))
        return np.zeros((*drums_BL.shape, 90), np.float32)

    monkeypatch.setattr("jaxaccomp.generate.guidance.of_rows", advise)
    options = PlayOptions.of(given="drums", guidance=1.0, **ONCE)
    monkeypatch.setattr(PlayOptions, "for_checkpoint", lambda self, config: self)
    guided = jaxaccomp.Accompanist(band.config, {**band.params, "guide": {}}, source=band.source)
    take = guided.accompany(song, given="drums", guidance=1.0, **ONCE)[0]
    assert options.parts == ("bass",)
    np.testing.assert_array_equal(told[0], take.windows[:, :, 2])


def test_given_parts_are_refused_where_they_make_no_sense(band, song):
    with pytest.raises(MidiError, match="no track plays the drums"):
        band.accompany(demos.path("korobeiniki"), given="drums")
    with pytest.raises(ConfigError, match="given bass leaves nothing to play"):
        band.accompany(song, given="bass", parts=("bass",))


def test_a_collection_takes_no_given_part(song, tmp_path, capsys):
    assert cli.infer([str(song.parent), "--out", str(tmp_path / "out"), "--given", "bass"]) == 2
    assert "--given is of a single song" in capsys.readouterr().err
