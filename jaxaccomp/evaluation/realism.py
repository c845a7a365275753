"""How real an accompaniment sounds, by numbers: its measures beside real songs', and whether a classifier can tell.

Two figures sum up the nineteen measures of `music.measures`. `distance` compares means alone. `auc` is a two-sample
test: boosted trees learn to tell windows from the real band under the same melodies, and are asked on songs they did
not learn from. 0.5 is a coin toss; another song's real band under each melody shows what good playing to the wrong
melody gets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import FIRST_NOTE_ON, WindowTokens
from jaxaccomp.errors import DatasetError
from jaxaccomp.music import measures

FOLDS = 5
"""Songs are shared out among so many folds; each is judged by what the others taught."""


def describe(windows_NLP: WindowTokens, real_NLP: WindowTokens, song_N: Int[np.ndarray, " N"]) -> dict[str, Any]:
    """Measures of accompaniments, their distance from the real ones, and how well they can be told from them.

    Args:
        windows_NLP: windows to judge.
        real_NLP: the real band under the same melodies, in the same order.
        song_N: number of each window's song.

    Returns:
        `measures` (means by name), `distance`, and `auc`: None for the real windows themselves or fewer than `FOLDS`
        songs.
    """
    ours_NM, real_NM = measures.table(windows_NLP), measures.table(real_NLP)
    return {
        "measures": dict(zip(measures.NAMES, map(float, ours_NM.mean(0)), strict=True)),
        **figures(ours_NM, real_NM, windows_NLP, real_NLP, song_N),
    }


def figures(
    ours_NF: Float[np.ndarray, "N F"],
    real_NF: Float[np.ndarray, "N F"],
    windows_NLP: WindowTokens,
    real_NLP: WindowTokens,
    song_N: Int[np.ndarray, " N"],
) -> dict[str, float | None]:
    """`distance` and `auc` of `describe`, over any features of the same windows."""
    untold = np.array_equal(windows_NLP, real_NLP) or len(np.unique(song_N)) < FOLDS
    return {
        "distance": measures.distance(ours_NF, real_NF),
        "auc": None if untold else auc(ours_NF, real_NF, melody_context(real_NLP), song_N),
    }


def compare(
    sources: Mapping[str, WindowTokens | None], real_NLP: WindowTokens, song_N: Int[np.ndarray, " N"]
) -> dict[str, dict[str, Any] | None]:
    """`describe` of each source by its name; None stays None."""
    return {name: None if windows is None else describe(windows, real_NLP, song_N) for name, windows in sources.items()}


def melody_context(windows_NLP: WindowTokens) -> Float[np.ndarray, "N 2"]:
    """What the classifier is told of each melody: how many notes, and how many different ones."""
    melody_NL = windows_NLP[:, :, 0]
    onset_NL = melody_NL >= FIRST_NOTE_ON
    ordered_NL = np.sort(np.where(onset_NL, melody_NL, 0), axis=1)
    different_N = ((ordered_NL[:, 1:] != ordered_NL[:, :-1]) & (ordered_NL[:, 1:] > 0)).sum(1) + (ordered_NL[:, 0] > 0)
    return np.stack([onset_NL.sum(1), different_N], axis=1).astype(float)


def auc(
    ours_NM: Float[np.ndarray, "N M"],
    real_NM: Float[np.ndarray, "N M"],
    context_NX: Float[np.ndarray, "N X"],
    song_N: Int[np.ndarray, " N"],
) -> float:
    """How well boosted trees tell real windows from ours: 0.5 not at all, 1 always.

    Args:
        ours_NM: measures of our windows.
        real_NM: measures of the real ones, the same melodies in the same order.
        context_NX: what is told beside, the same for both.
        song_N: number of each window's song; folds are by song.

    Raises:
        DatasetError: there are fewer songs than folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from threadpoolctl import threadpool_limits

    fold_N = np.unique(song_N, return_inverse=True)[1] % FOLDS
    if fold_N.max() + 1 < FOLDS:
        raise DatasetError(f"a two-sample test needs {FOLDS} songs or more, got {fold_N.max() + 1}")
    x = np.concatenate([np.c_[real_NM, context_NX], np.c_[ours_NM, context_NX]])
    is_real, fold = np.r_[np.ones(len(real_NM)), np.zeros(len(ours_NM))], np.r_[fold_N, fold_N]
    chance = np.zeros(len(x))
    for number in range(FOLDS):
        asked: Bool[np.ndarray, " X"] = fold == number
        trees = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, random_state=0)
        with threadpool_limits(1):  # so few rows are faster on one thread, and sums keep their order
            trees.fit(x[~asked], is_real[~asked])
            chance[asked] = trees.predict_proba(x[asked])[:, 1]
    return float(roc_auc_score(is_real, chance))
