"""What a listener gets: held-out melodies accompanied as `accompany` does it by default, measured beside real songs.

Each window is a song of its own here, so that every row of the comparison plays the same melodies. Four sources are
compared with the real band: another song's real band (good playing to the wrong melody), the program as it plays, the
program without guide and choice (`--fast`), and one guided draw without choice.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int, UInt32

from jaxaccomp.arrays import WindowTokens
from jaxaccomp.config import ModelConfig
from jaxaccomp.evaluation import realism
from jaxaccomp.evaluation.heldout import Heldout
from jaxaccomp.generate.accompanist import Accompanist
from jaxaccomp.generate.batcher import PendingTake
from jaxaccomp.generate.options import PlayOptions, fast
from jaxaccomp.music import patterns


def report(
    config: ModelConfig,
    params: Mapping[str, Any],
    heldout: Heldout,
    *,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """Accompanies windows in each of the ways, and measures them.

    Args:
        config: of the checkpoint; it has a surrogate.
        params: likewise.
        heldout: windows to accompany.
        seed: of all random choices.
        batch_size: windows decoded at a time.
        progress: told the number of windows, each time some are settled.

    Returns:
        `candidates` and `guidance` of the default; `sources`, for each of `real`, `real_shuffled`, `default`, `guided`
        and `fast` what `realism.describe` gives and `unchosen`, the same two figures over the features that the critic
        was not told. A source that the checkpoint cannot tell apart from another is None.
    """
    band = Accompanist(config, params)
    real_NLP, song_N = heldout.tokens_NLP, heldout.song_N
    usual = PlayOptions(seed=seed).for_checkpoint(config)
    ways = {
        "default": usual,
        "guided": replace(usual, candidates=1) if usual.attempts > 1 and usual.guidance else None,
        "fast": PlayOptions(seed=seed, **fast()) if usual.attempts > 1 or usual.guidance else None,
    }
    sources: dict[str, WindowTokens | None] = {"real": real_NLP, "real_shuffled": None}
    strangers_N = heldout.strangers(seed)
    if strangers_N is not None:
        sources["real_shuffled"] = np.concatenate([real_NLP[:, :, :1], real_NLP[strangers_N][:, :, 1:]], axis=2)
    for name, options in ways.items():
        if options is not None:
            options = replace(options, retries=options.retries if name != "guided" else 0)
        sources[name] = options and accompany(band, real_NLP[:, :, 0], options, batch_size, progress)
    told = config.critic.features if config.critic is not None else ()
    found = realism.compare(sources, real_NLP, song_N)
    for name, windows in sources.items():
        if windows is not None:
            found[name]["unchosen"] = _unchosen(windows, real_NLP, song_N, told)
    return {"candidates": usual.attempts, "guidance": usual.guidance, "sources": found}


def ways(config: ModelConfig) -> int:
    """How often `report` accompanies each window."""
    usual = PlayOptions().for_checkpoint(config)
    return 1 + bool(usual.attempts > 1 and usual.guidance) + bool(usual.attempts > 1 or usual.guidance)


def accompany(
    band: Accompanist,
    melody_NL: Int[np.ndarray, "N L"],
    options: PlayOptions,
    batch_size: int = 64,
    progress: Callable[[int], Any] | None = None,
) -> WindowTokens:
    """Trios of given melodies as the accompanist settles them, each window a song of its own."""
    takes = [PendingTake(row_L[None], _fingerprint(number)) for number, row_L in enumerate(melody_NL)]
    band.settle(takes, options, batch_size=batch_size, progress=progress)
    tokens_NLP = np.concatenate([take.tokens_NLP for take in takes]).astype(np.int32)
    return np.concatenate([melody_NL[:, :, None], tokens_NLP], axis=2)


def _fingerprint(number: int) -> UInt32[np.ndarray, "2"]:
    return np.array([0, number], np.uint32)


def _unchosen(
    windows_NLP: WindowTokens, real_NLP: WindowTokens, song_N: np.ndarray, told: tuple[str, ...]
) -> dict[str, Any]:
    """Distance and AUC over the patterns that no choice was made by."""
    names = [name for name in patterns.NAMES if name not in (*told, *patterns.OF_MELODY)]
    ours_NF, real_NF = patterns.columns(windows_NLP, names), patterns.columns(real_NLP, names)
    return {"features": len(names), **realism.figures(ours_NF, real_NF, windows_NLP, real_NLP, song_N)}
