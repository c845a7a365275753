"""Measuring manners and given parts: what is counted, on cases whose answer is known."""

import numpy as np
import pytest

from jaxaccomp.latent import given, like
from jaxaccomp.music.tokens import CLOSED_HAT, KICK


def drums(step, drum):
    windows_NLP = np.zeros((2, 256, 3), np.int32)
    windows_NLP[:, step::16, 2] = 1 << drum
    return windows_NLP


def test_patterns_overlap_where_hits_fall_together():
    first, second = (like.patterns(windows_NLP[:, :, 2]) for windows_NLP in (drums(0, KICK), drums(4, KICK)))
    np.testing.assert_array_equal(like.overlap(first, first), 1)
    np.testing.assert_array_equal(like.overlap(first, second), 0)
    np.testing.assert_allclose(like.overlap(first, first + second), 0.5)


def test_results_equal_to_their_references_are_nearer_in_all_pairs():
    plain, reference = drums(4, CLOSED_HAT), drums(0, KICK)
    reference[:, 8::16, 2] = 1 << KICK
    found = like.compare(plain, reference, [reference[:1], reference[1:]])
    assert found["nearer in drum pattern, share of pairs"] == 1
    assert found["nearer in drum density, share of pairs"] == 1
    assert found["pattern overlap with the reference, like"] == 1
    assert found["steps a bar off the reference's density, plain"] == pytest.approx(1)
    same = like.compare(plain, plain, [reference[:1], reference[1:]])
    assert same["nearer in drum pattern, share of pairs"] == same["nearer in drum density, share of pairs"] == 0


def test_nothing_of_a_manner_is_as_near_as_the_plain_result(space, latents_folder):
    found = like.measure(space, latents_folder, pairs=4, amount=0.0)
    assert found["nearer in drum pattern, share of pairs"] == 0
    assert found["pattern overlap with the reference, plain"] == found["pattern overlap with the reference, like"]


def test_a_given_part_is_measured_for_both_parts(space, latents_folder):
    found = given.measure(space, latents_folder, count=4)
    assert found.keys() == {"bass", "drums"}
    for columns in found.values():
        assert list(columns) == ["encoder", "melody", "given"]
        assert np.isfinite(list(columns.values())).all()
