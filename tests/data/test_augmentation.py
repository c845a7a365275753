import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.data.augmentation import CLOSED_HAT, CRASH, DRAWS, NONE, OPEN_HAT, RIDE, Augmentation, augment
from jaxaccomp.errors import ConfigError


def windows(seed: int, count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = np.stack([random.integers(0, size, (count, 256)) for size in (90, 90, 512)], 2).astype(np.int16)
    tokens[:, :, :2] *= random.random((count, 256, 2)) < 0.2
    low, high = random.integers(2, 46, (count, 1, 1)), random.integers(46, 90, (count, 1, 1))
    notes = tokens[:, :, :2] >= 2
    tokens[:, :, :2] = np.where(notes, np.clip(tokens[:, :, :2], low, high), tokens[:, :, :2])
    return tokens, random.random((count, DRAWS))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_transposition_moves_every_note_of_a_window_alike_and_stays_in_range(seed):
    tokens, draws = windows(seed)
    moved = augment(tokens, draws, Augmentation())
    assert np.array_equal(moved[:, :, 2], tokens[:, :, 2])
    for before, after in zip(tokens[:, :, :2], moved[:, :, :2], strict=True):
        notes = before >= 2
        assert np.array_equal(before[~notes], after[~notes])
        shift = np.unique(after[notes].astype(int) - before[notes])
        assert len(shift) == 1
        assert -5 <= shift[0] <= 6
        assert after[notes].min() >= 2
        assert after[notes].max() <= 89


def test_every_transposition_occurs_where_there_is_room():
    tokens = np.zeros((4000, 256, 3), np.int16)
    tokens[:, 0, :2] = 40
    draws = np.random.default_rng(0).random((4000, DRAWS))
    moved = augment(tokens, draws, Augmentation())
    shifts, counts = np.unique(moved[:, 0, 0] - 40, return_counts=True)
    assert shifts.tolist() == list(range(-5, 7))
    assert counts.min() > 250


def test_dropping_spares_kick_and_snare_and_silences_the_rest():
    tokens, draws = windows(1)
    moved = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, drum_drop=1.0))
    assert np.array_equal(moved[:, :, 2], tokens[:, :, 2] & 0b11)
    half = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, drum_drop=0.5))[:, :, 2]
    assert np.array_equal(half & 0b11, tokens[:, :, 2] & 0b11)
    crash_kept = (half >> CRASH & 1).any(axis=1)
    assert 0.3 < crash_kept.mean() < 0.7


def test_swapping_keeps_how_many_drums_are_hit_at_each_step():
    tokens, draws = windows(2)
    moved = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, drum_swap=1.0))[:, :, 2]
    assert np.array_equal(np.bitwise_count(moved), np.bitwise_count(tokens[:, :, 2]))
    assert (moved != tokens[:, :, 2]).any(axis=1).all()
    swapped = (moved >> RIDE & 1) == (tokens[:, :, 2] >> CLOSED_HAT & 1)
    assert 0.1 < swapped.all(axis=1).mean() < 0.5


def test_without_augmentation_nothing_changes():
    tokens, draws = windows(3)
    assert augment(tokens, draws, NONE) is tokens


def test_a_nonsensical_setting_is_refused():
    with pytest.raises(ConfigError, match=r"drum_drop must be a probability, got 1\.5"):
        Augmentation(drum_drop=1.5)
    with pytest.raises(ConfigError, match="transpositions must reach"):
        Augmentation(lowest_shift=2)


def test_mixing_takes_hats_and_ride_of_the_other_song_and_nothing_else():
    tokens, draws = windows(3)
    others = np.random.default_rng(4).integers(0, 512, tokens.shape[:2]).astype(np.int16)
    cymbals = 1 << CLOSED_HAT | 1 << OPEN_HAT | 1 << RIDE
    mixed = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, drum_mix=1.0), others)
    assert np.array_equal(mixed[:, :, 2] & cymbals, others & cymbals)
    assert np.array_equal(mixed[:, :, 2] & ~cymbals, tokens[:, :, 2] & ~cymbals)
    assert np.array_equal(mixed[:, :, :2], tokens[:, :, :2])
    some = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, drum_mix=0.5), others)[:, :, 2]
    assert 0.25 < (some == tokens[:, :, 2]).all(axis=1).mean() < 0.75
