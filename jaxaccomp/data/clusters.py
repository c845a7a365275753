"""Which songs are versions of each other, and which split each of them belongs to.

A song and its near-duplicates must lie on one side of a split, or the validation figures measure memory. Two songs are
taken for versions of one another when they share a fingerprint, e.g. of a window that is not nearly empty.
"""

from collections.abc import Sequence

import numpy as np

VALIDATION_DIGIT, TEST_DIGIT = "e", "f"
"""First hex digits of the held-out songs: Lakh's convention."""


def cluster(fingerprints: Sequence[np.ndarray]) -> np.ndarray:
    """Groups songs that share a fingerprint, directly or through others.

    Args:
        fingerprints: uint64 values of each song, any number.

    Returns:
        For each song the smallest index of a song in its cluster [N].
    """
    count = len(fingerprints)
    owner = np.repeat(np.arange(count), [len(values) for values in fingerprints])
    values = np.concatenate([np.asarray(values, np.uint64) for values in fingerprints] or [np.zeros(0, np.uint64)])
    order = np.lexsort((owner, values))
    values, owner = values[order], owner[order]
    linked = (values[1:] == values[:-1]) & (owner[1:] != owner[:-1])
    pairs = np.unique(np.stack([owner[:-1][linked], owner[1:][linked]], axis=1), axis=0)
    leader = list(range(count))

    def root(song: int) -> int:
        while leader[song] != song:
            leader[song] = leader[leader[song]]
            song = leader[song]
        return song

    for a, b in pairs.tolist():
        a, b = root(a), root(b)
        leader[max(a, b)] = min(a, b)
    return np.array([root(song) for song in range(count)], np.int64)


def is_md5(stem: str) -> bool:
    """Whether a file's name, less its suffix, is an md5, as in the Lakh MIDI Dataset."""
    return len(stem) == 32 and all(character in "0123456789abcdef" for character in stem.lower())


def split(stem: str, content: str) -> str:
    """The split of a single song: its file's md5 name decides, or where it has none the hash of its content."""
    digit = (stem.lower() if is_md5(stem) else content)[0]
    return {VALIDATION_DIGIT: "validation", TEST_DIGIT: "test"}.get(digit, "train")


HELD_OUT_FIRST = ("test", "validation", "train")
"""Where a cluster goes whose songs are listed in several splits: what is held out stays unseen."""


def splits(
    leaders: np.ndarray, stems: Sequence[str], contents: Sequence[str], listed: Sequence[str | None] | None = None
) -> list[str]:
    """The split of each song: its cluster's, which a table or one of its members decides.

    A cluster of which songs are listed goes where they are listed; should they disagree, to the one most held out.
    Elsewhere one member decides.

    That member is the one whose content hash has the smallest second half: independent of the first digit, so that
    clusters fall into the splits in the same proportions as single songs, and of the order of the files.

    In a small corpus a split may stay empty; then it gets one cluster of the training split, provided that one is left
    there and no md5 name says otherwise; not so where a table lists songs.

    Args:
        leaders: a number for each song, the same for the songs of a cluster.
        stems: names of their files, less the suffix.
        contents: hashes of their notes.
        listed: split that a table gives each song, None where it says nothing.
    """
    halves = [content[len(content) // 2 :] for content in contents]
    speaker: dict[int, int] = {}
    for song, leader in enumerate(leaders.tolist()):
        if halves[song] < halves[speaker.setdefault(leader, song)]:
            speaker[leader] = song
    chosen = {leader: split(stems[song], contents[song]) for leader, song in speaker.items()}
    wishes: dict[int, set[str]] = {}
    for leader, wish in zip(leaders.tolist(), listed or (), strict=listed is not None):
        if wish is not None:
            wishes.setdefault(leader, set()).add(wish)
    chosen |= {leader: next(name for name in HELD_OUT_FIRST if name in names) for leader, names in wishes.items()}
    if wishes:
        return [chosen[leader] for leader in leaders.tolist()]
    spare = [leader for leader, name in chosen.items() if name == "train" and not is_md5(stems[speaker[leader]])]
    spare.sort(key=lambda leader: halves[speaker[leader]], reverse=True)
    for empty in ("validation", "test"):
        if empty not in chosen.values() and spare and list(chosen.values()).count("train") > 1:
            chosen[spare.pop()] = empty
    return [chosen[leader] for leader in leaders.tolist()]


def repeated_across(
    windows: Sequence[np.ndarray], split_of_song: Sequence[str], order: Sequence[str]
) -> list[np.ndarray]:
    """Windows to leave out so that no window lies in two splits.

    Songs that share only nearly empty windows stay apart; of such windows the copies in the first split of `order`
    stay and those in the others go.

    Args:
        windows: fingerprints of each song's windows, uint64.
        split_of_song: split of each song.
        order: splits, the one that keeps its copies first.

    Returns:
        For each song a mask over its windows: True is to go.
    """
    rank_by_split = {name: rank for rank, name in enumerate(order)}
    sizes = [len(values) for values in windows]
    if not sum(sizes):
        return [np.zeros(size, bool) for size in sizes]
    values = np.concatenate(windows)
    rank = np.repeat([rank_by_split[name] for name in split_of_song], sizes)
    _, group = np.unique(values, return_inverse=True)
    first = np.full(group.max() + 1, len(order))
    np.minimum.at(first, group, rank)
    return np.split(rank > first[group], np.cumsum(sizes)[:-1])
