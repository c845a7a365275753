import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.data import clusters

prints = st.lists(st.lists(st.integers(0, 30), max_size=4).map(lambda v: np.array(v, np.uint64)), max_size=12)


def components(songs: list[np.ndarray]) -> list[int]:
    """The same by brute force: spread the smallest index until nothing changes."""
    leader = list(range(len(songs)))
    for _ in songs:
        for a in range(len(songs)):
            for b in range(len(songs)):
                if set(songs[a].tolist()) & set(songs[b].tolist()):
                    leader[a] = leader[b] = min(leader[a], leader[b])
    return leader


@settings(max_examples=60, deadline=None)
@given(prints)
def test_songs_that_share_a_print_share_a_cluster(songs):
    assert clusters.cluster(songs).tolist() == components(songs)


def test_the_md5_name_decides_where_there_is_one():
    assert clusters.split("E" + "0" * 31, "abc") == "validation"
    assert clusters.split("0" * 32, "eee") == "train"
    assert clusters.split("e" + "0" * 30, "fbc") == "test"  # too short for an md5
    assert clusters.split("g" + "0" * 31, "ebc") == "validation"  # no hex digit


def test_a_small_corpus_has_all_splits_unless_md5_names_say_otherwise():
    contents = [f"{digit}{n:031x}" for n, digit in enumerate("0123")]
    leaders = np.arange(4)
    assert sorted(clusters.splits(leaders, ["a"] * 4, contents)) == ["test", "train", "train", "validation"]
    assert sorted(clusters.splits(leaders[:2], ["a"] * 2, contents[:2])) == ["train", "validation"]
    assert clusters.splits(leaders[:1], ["a"], contents[:1]) == ["train"]
    assert clusters.splits(leaders, ["0" * 32] * 4, contents) == ["train"] * 4


@settings(max_examples=60, deadline=None)
@given(prints)
def test_a_cluster_lies_in_one_split(songs):
    leaders = clusters.cluster(songs)
    contents = [f"{7919 * n:032x}"[::-1] for n in range(len(songs))]
    splits = clusters.splits(leaders, ["song"] * len(songs), contents)
    assert len(set(zip(leaders.tolist(), splits, strict=True))) == len(set(leaders.tolist()))


def test_clusters_fall_into_the_splits_like_single_songs():
    contents = [np.random.default_rng(n).bytes(16).hex() for n in range(9600)]
    leaders = np.arange(9600) // 3 * 3
    splits = clusters.splits(leaders, ["song"] * 9600, contents)
    for split in ("validation", "test"):
        assert 400 < splits.count(split) < 800  # a sixteenth is 600


@settings(max_examples=60, deadline=None)
@given(prints, st.data())
def test_no_window_stays_in_two_splits_and_none_is_lost(songs, data):
    order = ("train", "validation", "test")
    splits = [data.draw(st.sampled_from(order)) for _ in songs]
    dropped = clusters.repeated_across(songs, splits, order)
    kept = {split: set() for split in order}
    for windows, split, gone in zip(songs, splits, dropped, strict=True):
        assert len(gone) == len(windows)
        kept[split] |= set(windows[~gone].tolist())
    assert not kept["train"] & kept["validation"]
    assert not kept["train"] & kept["test"]
    assert not kept["validation"] & kept["test"]
    assert set.union(*kept.values()) == {value for windows in songs for value in windows.tolist()}
