"""The whole measurement of a checkpoint on held-out windows, as one JSON-ready report.

The decoders get z from several sources, and every figure is given for each, so that it can be read between a ceiling
and floors:

    encoder            the posterior's mean, which knows the bass and drums it is to foretell: the ceiling
    surrogate          the surrogate's mean, which knows the melody alone
    surrogate_sample   a draw from the surrogate's posterior, as the accompanist makes it
    prior_mean         z = 0: knows nothing
    prior_sample       a draw from N(0, I): any music
    shuffled           the encoder's mean of a window of another song: the wrong music
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxaccomp.arrays import BAND, STEPS
from jaxaccomp.config import ModelConfig, SurrogateConfig
from jaxaccomp.errors import DatasetError
from jaxaccomp.evaluation import accompanied, agreement, likelihood, performance
from jaxaccomp.evaluation.batching import in_batches
from jaxaccomp.evaluation.code_length import code_length
from jaxaccomp.evaluation.heldout import Heldout
from jaxaccomp.evaluation.likelihood import Likelihood
from jaxaccomp.evaluation.performance import Band
from jaxaccomp.generate.options import PlayOptions, resolve_temperature
from jaxaccomp.models import correlation, musicvae
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.models.surrogate import SurrogateEncoder

SOURCES = ("encoder", "surrogate", "surrogate_sample", "prior_mean", "prior_sample", "shuffled")
RESAMPLES = 1000
"""Bootstrap resamples of the songs, for the intervals of `gap_closed`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        temperatures: sampling temperatures of bass and drums; the first is that of all sampled figures, the others are
            tried out on the surrogate alone.
        spreads: how far surrogate_sample strays from the mean, in the surrogate's standard deviations; likewise.
        samples: windows that are played to measure what can be heard; likelihoods are taken of all.
        seed: decides all that is random.
        batch_size: windows decoded at once.
        dtype: what the decoders' products are rounded to, such as bfloat16; None keeps float32.
    """

    temperatures: tuple[tuple[float, float], ...] = (resolve_temperature(None, BAND),)
    spreads: tuple[float, ...] = (PlayOptions().spread,)
    samples: int = 500
    seed: int = 0
    batch_size: int = 64
    dtype: Any = None


def evaluate(
    config: ModelConfig,
    params: Mapping[str, Any],
    heldout: Heldout,
    settings: Settings = Settings(),
    progress: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """Measures a checkpoint.

    Args:
        config: sizes, as `checkpoint.load` gives them; without a surrogate its rows are null.
        params: likewise.
        heldout: the windows.
        settings: how to measure.
        progress: told the number of windows decoded, each time some are.

    Returns:
        Plain values for JSON:
        `nll` [source][part], nats a window; `accuracy` and `onset_accuracy`, teacher-forced, of all 256 tokens and of
        those that begin a note or hit a drum; `nll_by_song`, the mean over songs of their means; `gap_closed` [part],
        the share of what z could tell that the surrogate tells, and `gap_closed_interval`, its 95 % interval over
        songs, null where the encoder's z is worth no more than z = 0, so that the share means nothing; `latent`, see
        `agreement`; `code_length`, see there, null without a surrogate that predicts a scale; `reconstruction`, what
        argmax decoding of the encoder's mean gets right; `statistics` [source or `real` or `real_shuffled`][measure],
        see `musicality`; `overlap` [source][measure]; `sweep`, the surrogate's statistics at each temperature and
        spread; `accompanied`, see `accompanied.report`.

    Raises:
        DatasetError: the latents are of another size than the model's.
    """
    start_s = time.perf_counter()
    size = config.musicvae.latent_size
    if heldout.mean_NZ.shape[1] != size:
        raise DatasetError(
            f"these latents have {heldout.mean_NZ.shape[1]} dimensions, the checkpoint's {size}; make them with this "
            "checkpoint: python -m jaxaccomp latents --checkpoint"
        )
    progress = progress or (lambda windows: None)
    guess = _surrogate(config, params, heldout, settings.batch_size)
    correlated = params.get("correlation")
    latents = _latents(heldout, guess, settings.seed, settings.spreads[0], correlated)
    report = {
        "windows": len(heldout),
        "windows_available": heldout.available,
        "songs": len(np.unique(heldout.song_N)),
        "latents_are_this_encoders": _same_encoder(config, params, heldout, settings.batch_size),
        **_likelihoods(config, params, heldout, latents, settings, progress),
        "latent": _agreement(
            heldout, guess, config.surrogate is not None and config.surrogate.predict_scale, correlated
        ),
        "code_length": _code_length(config, params, heldout, guess, settings, progress),
    }
    rows = heldout.spread(settings.samples)
    some, some_guess = heldout.take(rows), guess and Posterior(*(array[rows] for array in guess))
    some_latents = {source: z if z is None else z[rows] for source, z in latents.items()}
    band = Band(config.musicvae, params["musicvae"], settings.seed, settings.batch_size, progress, settings.dtype)
    report |= {
        "sampled_windows": len(some),
        "temperature": dict(zip(BAND, settings.temperatures[0], strict=True)),
        "spread": settings.spreads[0],
        "reconstruction": performance.reconstruction(band, some),
        **performance.compare(band, some, some_latents, settings.temperatures[0]),
        "sweep": _sweep(band, some, some_guess, settings, correlated),
    }
    report["accompanied"] = guess and accompanied.report(
        config, params, some, seed=settings.seed, batch_size=settings.batch_size, progress=progress
    )
    report["seconds"] = round(time.perf_counter() - start_s, 1)
    return report


def encoder(params: Mapping[str, Any], batch_size: int = 64) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """What `heldout.read` needs to read windows: means and standard deviations by a checkpoint's MusicVAE."""
    return lambda tokens_NLP: _encoded(params, tokens_NLP, batch_size)


def work(heldout: Heldout, settings: Settings, has_surrogate: bool, ways: int = 1) -> int:
    """Windows that `evaluate` is going to decode, for a progress bar; `ways` as of `accompanied.ways`."""
    sources = len(SOURCES) - (0 if has_surrogate else 2)
    tried = len(settings.temperatures) * len(settings.spreads) if has_surrogate else 0
    sampled = sources + 1 + (tried if tried > 1 else 0) + (ways if has_surrogate else 0)
    return (sources + has_surrogate) * len(heldout) + sampled * min(settings.samples, len(heldout))


def _surrogate(config: ModelConfig, params: Mapping[str, Any], heldout: Heldout, batch_size: int) -> Posterior | None:
    if config.surrogate is None or params.get("surrogate") is None:
        return None
    guess = _guesser(config.surrogate)
    return in_batches(partial(guess, params["surrogate"]), batch_size, heldout.tokens_NLP[:, :, 0])


def _same_encoder(config: ModelConfig, params: Mapping[str, Any], heldout: Heldout, batch_size: int) -> bool:
    """Whether the checkpoint's own encoder gives the first windows the means that are stored with them.

    The parameters may have been rounded since, so that the means are near rather than equal.
    """
    first = slice(batch_size)
    mean_NZ, _ = _encoded(params, heldout.tokens_NLP[first], batch_size)
    off = np.sqrt(np.mean((mean_NZ - heldout.mean_NZ[first]) ** 2))
    return bool(off <= 0.1 * np.sqrt(np.mean(mean_NZ**2)) + 1e-6)


_ENCODE = jax.jit(musicvae.encode)


def _encoded(params: Mapping[str, Any], tokens_NLP: np.ndarray, batch_size: int) -> Posterior:
    return in_batches(partial(_ENCODE, params["musicvae"]), batch_size, tokens_NLP)


@lru_cache(maxsize=8)
def _guesser(config: SurrogateConfig) -> Callable[[Any, Array], Posterior]:
    model = SurrogateEncoder(config)
    return jax.jit(lambda params, melody_BL: model.apply({"params": params}, melody_BL, _full_lengths(melody_BL)))


def _full_lengths(melody_BL: Array) -> Array:
    return jnp.full(len(melody_BL), STEPS, jnp.int32)


def _latents(
    heldout: Heldout, guess: Posterior | None, seed: int, spread: float, correlated: Mapping[str, Any] | None
) -> dict[str, np.ndarray | None]:
    """Z of each source; None where it has none."""
    random = np.random.default_rng([seed, 2])
    noise_NZ = random.standard_normal(heldout.mean_NZ.shape, np.float32)
    strangers_N = heldout.strangers(seed)
    return {
        "encoder": heldout.mean_NZ,
        "surrogate": None if guess is None else guess.mean_BZ,
        "surrogate_sample": None
        if guess is None
        else guess.mean_BZ + spread * guess.scale_BZ * correlation.correlate(correlated, noise_NZ),
        "prior_mean": np.zeros_like(heldout.mean_NZ),
        "prior_sample": noise_NZ,
        "shuffled": None if strangers_N is None else heldout.mean_NZ[strangers_N],
    }


def _likelihoods(
    config: ModelConfig,
    params: Mapping[str, Any],
    heldout: Heldout,
    latents: Mapping[str, np.ndarray | None],
    settings: Settings,
    progress: Callable[[int], Any],
) -> dict[str, Any]:
    scored: dict[str, dict[str, Likelihood] | None] = {}
    for source, z_NZ in latents.items():
        scored[source] = (
            z_NZ
            if z_NZ is None
            else likelihood.teacher_forced(
                config.musicvae,
                params["musicvae"],
                heldout.tokens_NLP,
                z_NZ,
                batch_size=settings.batch_size,
                dtype=settings.dtype,
            )
        )
        if z_NZ is not None:
            progress(len(heldout))

    def table(figure: Callable[[Likelihood], float | None]) -> dict[str, Any]:
        return {
            source: parts if parts is None else {part: figure(one) for part, one in parts.items()}
            for source, parts in scored.items()
        }

    song_N = np.unique(heldout.song_N, return_inverse=True)[1]
    return {
        "nll": table(lambda one: float(one.nll_N.mean(dtype=np.float64))),
        "nll_by_song": table(lambda one: float(_by_song(one.nll_N, song_N)[0].mean())),
        "accuracy": table(lambda one: float(one.right_N.mean() / STEPS)),
        "onset_accuracy": table(lambda one: _ratio(one.onsets_right_N.sum(), one.onsets_N.sum())),
        **_gap_closed(scored, song_N, settings.seed),
    }


def _by_song(value_N: np.ndarray, song_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and number of windows of each song."""
    count_M = np.bincount(song_N)
    return np.bincount(song_N, value_N) / count_M, count_M


def _gap_closed(scored: Mapping[str, Any], song_N: np.ndarray, seed: int) -> dict[str, Any]:
    """(prior_mean − surrogate) / (prior_mean − encoder), and how far it depends on which songs were measured."""
    if scored["surrogate"] is None:
        return {"gap_closed": None, "gap_closed_interval": None}
    closed: dict[str, float | None] = {}
    interval: dict[str, list[float] | None] = {}
    songs = song_N.max() + 1
    drawn_RM = np.random.default_rng([seed, 3]).multinomial(songs, np.full(songs, 1 / songs), RESAMPLES)
    for part in BAND:
        floor_N, nll_N, ceiling_N = (
            scored[source][part].nll_N.astype(np.float64) for source in ("prior_mean", "surrogate", "encoder")
        )
        won_M, all_M = np.bincount(song_N, floor_N - nll_N), np.bincount(song_N, floor_N - ceiling_N)
        won, whole = float(won_M.sum()), float(all_M.sum())
        closed[part] = won / whole if whole else None
        won_R, all_R = drawn_RM @ won_M, drawn_RM @ all_M
        low_high = np.percentile(won_R / np.where(all_R > 0, all_R, np.inf), [2.5, 97.5])
        interval[part] = [float(edge) for edge in low_high] if whole > 0 else None
    return {"gap_closed": closed, "gap_closed_interval": interval}


def _agreement(
    heldout: Heldout, guess: Posterior | None, has_scale: bool = True, correlated: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    active_Z = agreement.active(heldout.mean_NZ)
    found: dict[str, Any] = {
        "size": len(active_Z),
        "active": int(active_Z.sum()),
        "kl_bits": agreement.divergence(heldout.mean_NZ, heldout.scale_NZ, 0 * heldout.mean_NZ, 1 + 0 * heldout.mean_NZ)
        / float(np.log(2)),
        "r_squared": None,
        "cosine": None,
        "kl_to_surrogate": None,
        "calibration": None,
    }
    if guess is None:
        return found
    mean_NA, scale_NA, guess_NA, guess_scale_NA = (
        array[:, active_Z] for array in (heldout.mean_NZ, heldout.scale_NZ, guess.mean_BZ, guess.scale_BZ)
    )
    found |= {"r_squared": agreement.r_squared(guess_NA, mean_NA), "cosine": agreement.cosine(guess_NA, mean_NA)}
    if has_scale:
        found["kl_to_surrogate"] = agreement.divergence(heldout.mean_NZ, heldout.scale_NZ, *guess, correlated)
        found["calibration"] = agreement.calibration(mean_NA, scale_NA, guess_NA, guess_scale_NA)
    return found


def _code_length(
    config: ModelConfig,
    params: Mapping[str, Any],
    heldout: Heldout,
    guess: Posterior | None,
    settings: Settings,
    progress: Callable[[int], Any],
) -> dict[str, float] | None:
    if guess is None or not config.surrogate.predict_scale:
        return None
    posterior = Posterior(heldout.mean_NZ, heldout.scale_NZ)
    how = (settings.seed, settings.batch_size, settings.dtype)
    found = code_length(
        config.musicvae, params["musicvae"], heldout.tokens_NLP, posterior, guess, *how, params.get("correlation")
    )
    progress(len(heldout))
    return found


def _sweep(
    band: Band,
    heldout: Heldout,
    guess: Posterior | None,
    settings: Settings,
    correlated: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """The surrogate's playing at every temperature and spread asked for, if more than one."""
    tried = [(temperature, spread) for temperature in settings.temperatures for spread in settings.spreads]
    if guess is None or len(tried) < 2:
        return []
    rows = []
    for temperature, spread in tried:
        z_NZ = _latents(heldout, guess, settings.seed, spread, correlated)["surrogate_sample"]
        trio_NLP = band.accompany(heldout.tokens_NLP[:, :, 0], z_NZ, temperature)
        rows.append(
            {
                "temperature": dict(zip(BAND, temperature, strict=True)),
                "spread": spread,
                "statistics": performance.statistics(trio_NLP),
                "overlap": performance.overlaps(trio_NLP, heldout.tokens_NLP)["mean"],
            }
        )
    return rows


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole > 0 else None
