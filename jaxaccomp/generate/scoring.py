"""What a take is worth: the seam between playing and choosing.

A scorer looks at decoded windows, each by itself, and gives each of them some numbers. Which attempt of a window is
kept (`selection`), whether a window is played again (`batcher`), what a take reports as its `scores`, and what
`evaluate` measures all go by these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import BAND, Params
from jaxaccomp.config import CriticConfig, ModelConfig
from jaxaccomp.generate import coverage
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.models import critic

TOTAL = "total"
"""What the best attempt has most of."""
COVERAGE = "coverage"
"""Share of enough, see `coverage`; a window whose attempts all stay below `PlayOptions.enough` is played
again."""

Scores = dict[str, Float[np.ndarray, "B"]]


@runtime_checkable
class TakeScorer(Protocol):
    """Scores windows; a window's scores depend on its own melody and tokens alone, whatever batch it is in."""

    def __call__(
        self, melody_BL: Int[np.ndarray, "B L"], tokens_BLP: Int[np.ndarray, "B L parts"], parts: Sequence[str]
    ) -> Scores:
        """Scores by name, `TOTAL` and `COVERAGE` among them.

        Args:
            melody_BL: melody tokens.
            tokens_BLP: what was decoded to them.
            parts: which parts those are.
        """


def by_coverage(
    melody_BL: Int[np.ndarray, "B L"], tokens_BLP: Int[np.ndarray, "B L parts"], parts: Sequence[str]
) -> Scores:
    """A `TakeScorer`: in how many of the melody's bars each part plays, and nothing else."""
    coverage_B = coverage.bar_coverage(melody_BL, tokens_BLP, parts)
    return {TOTAL: coverage_B, COVERAGE: coverage_B}


@dataclass(frozen=True)
class ByCritic:
    """A `TakeScorer`: log-odds that bass and drums are those of a real song, by the checkpoint's critic.

    Attributes:
        config: the critic's features and sizes.
        params: its trees, as NumPy arrays; those about drums alone are under `drums`.
    """

    config: CriticConfig
    params: Params

    def __call__(
        self, melody_BL: Int[np.ndarray, "B L"], tokens_BLP: Int[np.ndarray, "B L parts"], parts: Sequence[str]
    ) -> Scores:
        """See `TakeScorer`; the parts must be both, or drums alone where the critic can judge them."""
        if tuple(parts) == ("drums",):
            windows_BLP = np.stack([melody_BL, np.zeros_like(melody_BL), tokens_BLP[:, :, 0]], axis=2)
            drums_B = critic.score_drums(self.config, self.params, windows_BLP)
            return {TOTAL: drums_B, COVERAGE: coverage.bar_coverage(melody_BL, tokens_BLP, parts)}
        order = [parts.index(part) for part in BAND]
        windows_BLP = np.concatenate([melody_BL[:, :, None], tokens_BLP[:, :, order]], axis=2)
        critic_B = critic.score(self.config, self.params, windows_BLP)
        return {TOTAL: critic_B, "critic": critic_B, COVERAGE: coverage.bar_coverage(melody_BL, tokens_BLP, parts)}


def make(options: PlayOptions, config: ModelConfig, params: Params) -> TakeScorer:
    """The scorer that these options ask for.

    Args:
        options: how to play; the critic is asked only where there is something to choose and both parts are played.
        config: of the checkpoint.
        params: likewise; only the critic's are read.
    """
    if not _has_choice(options, config):
        return by_coverage
    return ByCritic(config.critic, critic.on_host(params["critic"]))


def drums_first(options: PlayOptions, config: ModelConfig) -> bool:
    """Whether the drums are chosen before there is a bass: the checkpoint's critic can judge them by themselves."""
    return _has_choice(options, config) and config.critic.drum_trees > 0


def _has_choice(options: PlayOptions, config: ModelConfig) -> bool:
    return options.attempts > 1 and config.critic is not None and set(options.parts) == set(BAND)
