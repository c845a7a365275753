"""The best song among attempts: by exhaustive search where that is possible, and by what is asked for."""

import itertools

import numpy as np
import pytest

from jaxaccomp.arrays import STEPS
from jaxaccomp.generate import selection
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.selection import Attempts
from jaxaccomp.music import sections, tokens

PARTS = ("bass", "drums")


def _attempts(count, windows, seed=0):
    rng = np.random.default_rng(seed)
    tokens = np.zeros((count, windows, STEPS, 2), np.int32)
    tokens[..., 0] = np.where(rng.random(tokens.shape[:3]) < 0.2, rng.integers(2, 60, tokens.shape[:3]), 0)
    tokens[..., 1] = np.where(rng.random(tokens.shape[:3]) < 0.4, rng.integers(1, 512, tokens.shape[:3]), 0)
    return Attempts(tokens, rng.normal(size=(count, windows)), np.ones((count, windows)), PARTS)


def _melody(windows, seed=0):
    rng = np.random.default_rng([seed, 7])
    return np.where(rng.random((windows, STEPS)) < 0.3, rng.integers(30, 60, (windows, STEPS)), 0).astype(np.int32)


def test_shortest_path_is_the_cheapest_of_all():
    rng = np.random.default_rng(0)
    own_AN, step_NAA = rng.random((3, 5)), rng.random((5, 3, 3))

    def cost(path):
        return own_AN[path, range(5)].sum() + sum(step_NAA[n, path[n - 1], path[n]] for n in range(1, 5))

    expected = min(itertools.product(range(3), repeat=5), key=cost)
    assert selection._shortest_path(own_AN, step_NAA).tolist() == list(expected)


def test_best_of_each_takes_the_first_among_equals_and_nothing_that_was_not_decoded():
    total_AN = np.array([[1.0, 0.0, 2.0], [1.0, np.nan, 3.0], [0.0, 1.0, np.nan]])
    assert selection.best_of_each(total_AN).tolist() == [0, 2, 1]


def test_an_attempt_that_leaves_bars_empty_is_kept_only_if_all_do():
    attempts = _attempts(3, 4)
    attempts.coverage_AN[:2] = 0.5
    assert selection.best_song(_melody(4), attempts, PlayOptions(candidates=3)).tolist() == [2, 2, 2, 2]


def test_a_repeat_gets_the_drums_of_what_it_repeats():
    attempts, melody = _attempts(4, 3), np.repeat(_melody(1), 3, 0)
    melody[1] = _melody(1, seed=1)
    attempts.tokens_ANLP[3, 2, :, 1] = attempts.tokens_ANLP[1, 0, :, 1]  # another attempt, the same groove
    attempts.total_AN[:] = 0
    attempts.total_AN[1, 0] = 1  # the first window's best is attempt 1
    chosen_N = selection.best_song(melody, attempts, PlayOptions(candidates=4))
    assert chosen_N[[0, 2]].tolist() == [1, 3]


@pytest.mark.parametrize(("factor", "expected"), [(0.25, 0), (1.0, 1), (4.0, 2)])
def test_density_takes_the_attempt_with_as_many_notes_as_asked_for(factor, expected):
    attempts = _attempts(3, 1)
    attempts.tokens_ANLP[:] = 0
    for attempt, every in enumerate((32, 8, 2)):
        attempts.tokens_ANLP[attempt, :, ::every] = 40
    attempts.total_AN[:] = [[0.0], [0.1], [0.0]]
    options = PlayOptions.of(candidates=3, density=factor)
    assert selection.best_song(_melody(1), attempts, options).tolist() == [expected]


@pytest.mark.parametrize(("wish", "expected"), [("none", 0), ("many", 1)])
def test_fills_are_where_they_are_wished(wish, expected):
    attempts = _attempts(2, 3)
    groove = np.tile(np.array([1, 0, 4, 0] * 4), 16)
    attempts.tokens_ANLP[..., 1] = groove
    attempts.tokens_ANLP[1, :, -16:, 1] = 16  # a roll in the last bar
    attempts.tokens_ANLP[..., 0] = 0
    attempts.total_AN[:] = 0
    options = PlayOptions(candidates=2, fills=wish)
    assert selection.best_song(_melody(3), attempts, options)[:2].tolist() == [expected] * 2, "the third one ends"


def test_a_song_of_one_candidate_is_the_best_of_each_window():
    attempts = _attempts(3, 5)
    found = selection.of_take(
        _melody(5), list(attempts.tokens_ANLP), attempts.total_AN, attempts.coverage_AN, PlayOptions(), PARTS
    )
    assert (found == attempts.total_AN.argmax(0)).all()


@pytest.mark.parametrize("fills", ["any", "many"])
def test_going_on_costs_the_groove_that_changes_and_the_bass_that_leaps(fills):
    attempts, melody = _attempts(3, 4), _melody(4)
    attempts.tokens_ANLP[1, 2, :, 0] = 0  # a bass that rests leaps nowhere
    form = sections.form(melody)
    found_NAA = selection._boundary_costs(attempts, form, fills)
    drums, bass = tokens.bars(attempts.part("drums") > 0), tokens.sounding(attempts.part("bass"))
    within = selection.groove_change(drums[:, :, :-1], drums[:, :, 1:]).mean(2)
    for n, a, b in itertools.product(range(1, 4), range(3), range(3)):
        bars = (-1, -2) if fills == "many" else (-1,)
        across = min(selection.groove_change(drums[a, n - 1, bar], drums[b, n, 0]) for bar in bars)
        cost = 5.0 * max(across - (within[a, n - 1] + within[b, n]) / 2, 0) * (not form.begins_with_window_N[n])
        last, first = (row[row >= 0] for row in (bass[a, n - 1], bass[b, n]))
        if len(last) and len(first):
            cost += 0.5 * max(abs(int(last[-1]) - int(first[0])) - 7, 0) / 12
        assert found_NAA[n, a, b] == pytest.approx(cost), (n, a, b)
    assert (found_NAA[0] == 0).all()
