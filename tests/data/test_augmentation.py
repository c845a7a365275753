import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.data.augmentation import (
    CLOSED_HAT,
    CRASH,
    DRAWS,
    NONE,
    OPEN_HAT,
    RIDE,
    Augmentation,
    augment,
    draw,
    move_octave,
    stretch,
)
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
    with pytest.raises(ConfigError, match=r"half_time must be a probability, got -0\.1"):
        Augmentation(half_time=-0.1)
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


def bass(*pitches: int) -> np.ndarray:
    """A window's bass of these MIDI pitches, a note-off after each."""
    tokens = np.zeros(256, np.int16)
    tokens[: 2 * len(pitches) : 2] = np.array(pitches) - 21 + 2
    tokens[1 : 2 * len(pitches) : 2] = 1
    return tokens


@pytest.mark.parametrize(
    ("pitches", "up", "expected"),
    [
        ((28, 40), True, 12),
        ((28, 40), False, 12),  # an octave lower no bass can play it
        ((40, 50), False, -12),
        ((40, 50), True, 12),
        ((45, 60), True, -12),  # an octave higher neither
        ((28, 60), True, 0),
        ((80, 80), False, 0),
        ((12 + 60, 12 + 60), True, -12),  # one that lies too high comes down
    ],
)
def test_a_bass_is_moved_by_an_octave_to_where_a_bass_can_play(pitches, up, expected):
    before = bass(*pitches)
    (after,) = move_octave(before[None], np.array([up]))
    assert np.array_equal(after[before < 2], before[before < 2])
    assert set((after - before)[before >= 2].tolist()) == {expected}


def test_bass_octaves_leave_melody_and_drums_and_come_as_often_as_asked_for():
    tokens = np.zeros((2000, 256, 3), np.int16)
    tokens[:, :, 0], tokens[:, :, 1], tokens[:, ::4, 2] = bass(60, 64), bass(36, 43), 5
    draws = draw(0, 0, 2000)
    moved = augment(tokens, draws, Augmentation(lowest_shift=0, highest_shift=0, bass_octave=0.3))
    assert np.array_equal(moved[:, :, ::2], tokens[:, :, ::2])
    assert 0.25 < (moved[:, 0, 1] != tokens[:, 0, 1]).mean() < 0.35
    silent = np.zeros_like(tokens)
    assert np.array_equal(augment(silent, draws, Augmentation(bass_octave=1.0)), silent)


def test_half_time_is_eight_bars_at_twice_their_distance():
    tokens, _ = windows(5, 4)
    second = np.array([False, True, False, True])
    slow = stretch(tokens, second)
    for window, before, late in zip(slow, tokens, second, strict=True):
        assert np.array_equal(window[::2], before[128:] if late else before[:128])
        assert not window[1::2].any()


def test_half_time_is_of_all_parts_and_comes_as_often_as_asked_for():
    tokens, _ = windows(6, 1000)
    plain = Augmentation(lowest_shift=0, highest_shift=0)
    slow = augment(tokens, draw(1, 0, 1000), Augmentation(lowest_shift=0, highest_shift=0, half_time=0.25))
    changed = (slow != tokens).any(axis=(1, 2))
    assert 0.2 < changed.mean() < 0.3
    assert not slow[changed][:, 1::2].any()
    first = (slow[changed][:, ::2] == tokens[changed][:, :128]).all(axis=(1, 2))
    assert 0.35 < first.mean() < 0.65
    assert np.array_equal(augment(tokens, draw(1, 0, 1000), plain), tokens)


def test_draws_that_came_later_leave_the_first_ones_as_they_were():
    """A run begun before there were octaves and half time goes on with the batches it would have had."""
    drawn = draw(7, 3, 5)
    assert drawn.shape == (5, DRAWS)
    assert np.array_equal(drawn[:, :8], np.random.default_rng([7, 3, 1]).random((5, 8)))
    assert len(np.unique(drawn)) == drawn.size
