"""The band plays the same notes whatever company a song is in, and others for another seed."""

import pickle

import jax
import numpy as np
import pytest

import jaxaccomp
from jaxaccomp import demos
from jaxaccomp.errors import CheckpointError, ConfigError, MelodyError, MidiError
from jaxaccomp.generate import accompanist, coverage, song
from jaxaccomp.models import lstm_scan, surrogate
from jaxaccomp.music import melody, midi
from jaxaccomp.weights import checkpoint

DEMO = demos.path("korobeiniki")


@pytest.fixture(scope="module")
def band(tiny_checkpoint):
    return jaxaccomp.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def take(band):
    return band.accompany(DEMO)[0]


def test_the_melody_comes_back_note_for_note_at_its_ticks(take):
    original = midi.read(DEMO)
    tune = original.track_notes(melody.choose(original).track)
    columns = ["start", "end", "pitch", "velocity", "channel", "program"]
    kept = [take.score.track_notes(track.index)[columns].tolist() for track in take.score.tracks]
    assert tune[columns].tolist() in kept
    assert take.score.tempos.tolist() == original.tempos.tolist()
    assert take.score.metres.tolist() == original.metres.tolist()


def test_bass_and_drums_are_the_windows_tokens(take):
    original = midi.read(DEMO)
    prepared = song.prepare(original)
    assert take.windows.shape == (*prepared.melody_NL.shape, 3)
    assert take.windows.dtype == np.int32
    assert (take.windows[:, :, 0] == prepared.melody_NL).all()
    assert len(np.unique(take.windows[:, :, 1])) > 2
    assert len(np.unique(take.windows[:, :, 2])) > 2
    again = song.finish(original, take.melody, take.windows[:, :, 1:])
    assert again.data == take.score.data
    assert any(track.is_drums for track in take.score.tracks)


def test_one_latent_for_each_window(band, take):
    assert take.z.shape == (len(take.windows), band.config.musicvae.latent_size)
    assert np.isfinite(take.z).all()


def test_a_take_depends_on_seed_and_number_but_not_on_how_many_there_are(band, take):
    three = band.accompany(DEMO, variations=3)
    assert [one.variation for one in three] == [0, 1, 2]
    assert three[0].score.data == take.score.data
    assert three[1].score.data != take.score.data
    assert three[2].score.data != three[1].score.data
    assert band.accompany(DEMO, seed=1)[0].score.data != take.score.data


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_of_any_size_give_the_same_notes(band, take, batch_size):
    (other,) = band.accompany(DEMO, batch_size=batch_size)
    assert (other.windows == take.windows).all()


def test_company_in_a_batch_changes_no_note(band):
    """Two songs' windows, interleaved and in reverse, in one batch."""
    songs = [song.prepare(midi.read(demos.path(name))) for name in ("korobeiniki", "greensleeves")]
    alone = [band.play_song(one)[0].windows for one in songs]
    rows = [(s, n) for n in range(2, -1, -1) for s in (0, 1) if n < len(songs[s].melody_NL)]
    assert len({s for s, _ in rows}) == 2
    played = band.play(
        np.stack([songs[s].melody_NL[n] for s, n in rows]),
        np.stack([songs[s].fingerprint for s, _ in rows]),
        np.array([n for _, n in rows], np.int32),
    )
    for (s, n), tokens_LP in zip(rows, np.asarray(played.tokens_BLP), strict=True):
        assert (tokens_LP == alone[s][n, :, 1:]).all()


def test_a_wide_surrogate_hears_no_neighbour(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(lstm_scan, "WIDE", 1)
    wide = jaxaccomp.load(tiny_checkpoint)
    melody_BL = np.random.default_rng(0).integers(0, 90, (70, 256), np.int32)
    together = wide._encode_melody(melody_BL)
    for rows in (slice(0, 1), slice(3, 43)):
        for alone, all_rows in zip(wide._encode_melody(melody_BL[rows]), together, strict=True):
            np.testing.assert_array_equal(alone, all_rows[rows])
    monkeypatch.undo()
    narrow = surrogate.encode(wide.params["surrogate"], melody_BL)
    np.testing.assert_allclose(together.mean_BZ, narrow.mean_BZ, atol=1e-5)


def test_a_part_alone_is_the_part_in_company(band):
    once = {"retries": 0}  # a second try for the bass's sake would change the drums too
    (both,), (drums,) = band.accompany(DEMO, **once), band.accompany(DEMO, parts=("drums",), **once)
    assert (drums.windows[:, :, 2] == both.windows[:, :, 2]).all()
    assert not drums.windows[:, :, 1].any()
    assert not any(track.name == "Bass" for track in drums.score.tracks)


def test_windows_in_which_a_part_rests_are_played_again_and_the_fullest_try_is_kept(tiny_checkpoint, monkeypatch):
    """Each window for itself, with a drummer who rests in every other bar or so."""
    config, params = checkpoint.load(tiny_checkpoint)
    output = params["musicvae"]["decoder_drums"]["output"]
    output["bias"] = output["bias"].at[0].add(9.0)
    drummer = accompanist.Accompanist(config, params)

    def played(tries, **settings):
        settled = []
        settings |= {"retries": tries - 1, "variations": 6, "parts": ("drums",), "temperature": 1.0}
        takes = drummer.accompany(DEMO, progress=settled.append, **settings)
        windows = np.concatenate([take.windows for take in takes])
        assert sum(settled) == len(windows)
        return (
            windows,
            np.concatenate([take.z for take in takes]),
            coverage.bar_coverage(windows[:, :, 0], windows[:, :, 2:], ("drums",)),
        )

    monkeypatch.setattr(coverage, "ENOUGH", 1.0)
    monkeypatch.setattr(coverage, "ENOUGH", float(np.median(played(1)[2])))
    once, once_z, once_full = played(1)
    again, again_z, again_full = played(4)
    full = once_full == 1
    assert 0 < full.sum() < len(full)
    assert (again[full] == once[full]).all()
    assert (again_z[full] == once_z[full]).all()
    assert (again_full >= once_full).all()
    assert again_full[~full].sum() > once_full[~full].sum()
    better = again_full > once_full
    assert (again_z[better] != once_z[better]).any(1).all()
    assert (played(4, batch_size=5)[0] == again).all()


def test_temperatures_are_one_for_all_or_one_for_each(band, take):
    both = band.accompany(DEMO, temperature=(0.45, 0.25))[0]
    assert both.score.data == take.score.data  # the defaults
    hot_drums = band.accompany(DEMO, temperature=(0.45, 2.0))[0]
    assert (hot_drums.windows[:, :, 1] == take.windows[:, :, 1]).all()
    assert (hot_drums.windows[:, :, 2] != take.windows[:, :, 2]).any()
    greedy = [band.accompany(DEMO, temperature=0.0, spread=0.0, seed=seed)[0].score.data for seed in (0, 1)]
    assert greedy[0] == greedy[1]  # nothing is left to chance


def test_spread_scales_the_noise_and_nothing_else(band):
    mean, one, two = (band.accompany(DEMO, spread=spread)[0].z for spread in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(two - mean, 2 * (one - mean), atol=1e-4)
    assert np.abs(one - mean).max() > 1e-3


def test_score_path_text_and_bytes_are_the_same_song(band, take):
    for form in (midi.read(DEMO), str(DEMO), DEMO.read_bytes()):
        assert band.accompany(form)[0].windows.tolist() == take.windows.tolist()


def test_keep_all_keeps_the_other_tracks(band, take):
    whole = band.accompany(DEMO, keep="all")[0]
    assert len(whole.score.tracks) > len(take.score.tracks)
    assert (whole.windows == take.windows).all()


def test_no_tune_is_refused(band):
    drums = np.zeros(4, midi.NOTE)
    drums["start"], drums["end"], drums["pitch"], drums["velocity"] = range(0, 400, 100), range(50, 450, 100), 36, 90
    score = midi.Score.build(100, [midi.Part("kit", midi.DRUM_CHANNEL, 0, drums)])
    with pytest.raises(MelodyError, match="only drums"):
        band.accompany(score)
    with pytest.raises(MelodyError, match="no track is called 'oboe'"):
        band.accompany(DEMO, melody="oboe")
    with pytest.raises(MidiError, match="cannot be read"):
        band.accompany("no/such.mid")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "expected 0 or more, got -1"),
        ({"temperature": float("nan")}, "expected 0 or more, got nan"),
        ({"temperature": (0.1, 0.2, 0.3)}, "one for each of bass, drums, got 3"),
        ({"variations": 0}, "variations must be at least 1"),
        ({"spread": -0.5}, "spread must be 0 or more"),
        ({"seed": 2**32}, "seed must fit in 32 bits"),
        ({"parts": ("bass", "flute")}, "parts"),
        ({"parts": ()}, "parts"),
        ({"keep": "nothing"}, "keep"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(band, settings, message):
    with pytest.raises(ConfigError, match=message):
        band.accompany(DEMO, **settings)


def test_a_checkpoint_without_surrogate_is_refused(tmp_path, tiny_checkpoint):
    config, params = checkpoint.load(tiny_checkpoint)
    checkpoint.save(tmp_path / "vae", config.musicvae, params["musicvae"])
    with pytest.raises(CheckpointError, match="no surrogate encoder"):
        accompanist.load(tmp_path / "vae")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        accompanist.load("no-such-name")


def test_a_pickled_band_plays_the_same(band, take):
    again = pickle.loads(pickle.dumps(band))
    assert again.name == band.name
    assert again.accompany(DEMO)[0].score.data == take.score.data


@pytest.mark.parametrize("setting", ["x64", "prng", "precision", "rank", "promotion"])
def test_ambient_settings_of_jax_change_no_note(setting, band, take):
    context = {
        "x64": lambda: jax.enable_x64(True),
        "prng": lambda: jax.default_prng_impl("rbg"),
        "precision": lambda: jax.default_matmul_precision("bfloat16"),
        "rank": lambda: jax.numpy_rank_promotion("raise"),
        "promotion": lambda: jax.numpy_dtype_promotion("strict"),
    }[setting]
    with context():
        assert band.accompany(DEMO)[0].score.data == take.score.data


def test_the_surrogate_hears_each_window_once_however_often_it_is_played(band, monkeypatch):
    heard, encode = [], band._encode_melody

    def listen(melody_BL):
        heard.append(len(melody_BL))
        return encode(melody_BL)

    monkeypatch.setattr(band, "_encode_melody", listen)
    windows = len(song.prepare(midi.read(DEMO)).melody_NL)
    band.accompany(DEMO, candidates=3, variations=2, batch_size=2)
    assert sum(heard) == 2 * windows, "once a take, whose equal rows cost one"
