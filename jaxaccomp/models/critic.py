"""The critic: is this the band of a real song, or a generated one? Boosted trees over measures and patterns of it.

Trees hear what is drawn far from real songs without rewarding it for going further still, as a linear critic does: the
more different drum tokens, the better. They are stored as complete binary trees of one depth, so that all of them are
asked at once: node n has the children 2n + 1 and 2n + 2, and a branch that ended early repeats its leaf.

A second, smaller set of trees asks about drums alone, so that drums can be chosen before there is a bass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import Params, WindowTokens
from jaxaccomp.config import CriticConfig
from jaxaccomp.music import patterns


def shapes(config: CriticConfig) -> dict[str, Any]:
    """Shapes of all parameters: `feature` and `threshold` of each node, `value` of each leaf, and a `bias` for all.

    The trees about drums alone, if there are any, are under `drums`.
    """
    return {
        **_forest(config.trees, config.depth),
        **({"drums": _forest(config.drum_trees, config.depth)} if config.drum_trees else {}),
    }


def _forest(trees: int, depth: int) -> dict[str, tuple[int, ...]]:
    nodes = 2**depth - 1
    return {"feature": (trees, nodes), "threshold": (trees, nodes), "value": (trees, nodes + 1), "bias": (1,)}


def on_host(params: Params) -> Params:
    """The same parameters as NumPy arrays, which scoring is much faster with."""
    return {name: on_host(one) if isinstance(one, Mapping) else np.asarray(one) for name, one in params.items()}


def score(config: CriticConfig, params: Params, windows_NLP: WindowTokens) -> Float[np.ndarray, " N"]:
    """Log-odds that each window is a real song's; in float64, each window by itself.

    Args:
        config: its features and sizes.
        params: as `shapes` lays them out.
        windows_NLP: tokens of melody, bass and drums.
    """
    return score_features(params, patterns.columns(windows_NLP, config.features))


def score_drums(config: CriticConfig, params: Params, windows_NLP: WindowTokens) -> Float[np.ndarray, " N"]:
    """Log-odds that the drums of each window are a real song's; bass tokens do not matter."""
    return score_features(params["drums"], patterns.columns(windows_NLP, config.drum_features))


def score_features(params: Params, x_NF: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
    """`score`, once the features are there."""
    feature_TX = np.asarray(params["feature"]).astype(np.int64)
    threshold_TX = np.asarray(params["threshold"], np.float64)
    value_TX = np.asarray(params["value"], np.float64)
    trees, nodes = feature_TX.shape
    x_NF = x_NF.astype(np.float32)  # as the trees were fitted
    tree_T, node_NT = np.arange(trees), np.zeros((len(x_NF), trees), np.int64)
    row_N1 = np.arange(len(x_NF))[:, None]
    for _ in range((nodes + 1).bit_length() - 1):
        is_above_NT = x_NF[row_N1, feature_TX[tree_T, node_NT]] > threshold_TX[tree_T, node_NT]
        node_NT = 2 * node_NT + 1 + is_above_NT
    leaf_NT: Int[np.ndarray, "N T"] = node_NT - nodes
    # A sum in one order, whatever the number of rows.
    return float(np.asarray(params["bias"])[0]) + np.cumsum(value_TX[tree_T, leaf_NT], axis=1)[:, -1]
