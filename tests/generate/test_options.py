"""Every setting of playing has one home, and collections begun before it are not begun again."""

import pytest

from jaxaccomp.errors import ConfigError
from jaxaccomp.generate.options import PlayOptions, fast


def test_the_settings_of_the_first_release_keep_their_digest():
    assert PlayOptions(**fast()).digest() == "07314706fcb12e74"


def test_the_digest_tells_settings_that_change_notes_apart():
    base = PlayOptions(**fast()).digest()
    others = [{"seed": 1}, {"spread": 0.5}, {"parts": ("bass",)}, {"keep": "all"}, {"retries": 0}, {"candidates": 2}]
    digests = {PlayOptions(**(fast() | other)).digest() for other in others}
    assert len(digests | {base}) == len(others) + 1


def test_the_number_of_takes_is_not_in_the_digest():
    assert PlayOptions(variations=3).digest() == PlayOptions().digest()


@pytest.mark.parametrize(
    ("temperature", "expected"), [(0.3, (0.3, 0.3)), (1, (1.0, 1.0)), ((0.3,), (0.3, 0.3)), ([0.3, 0.2], (0.3, 0.2))]
)
def test_of_takes_one_temperature_or_one_for_each_part(temperature, expected):
    assert PlayOptions.of(temperature=temperature).temperature == expected


def test_temperatures_follow_the_order_of_the_parts():
    assert PlayOptions(parts=("drums", "bass")).temperature == (0.25, 0.45)


def test_of_names_a_setting_that_there_is_not():
    with pytest.raises(ConfigError, match=r"has no field tempo; it has .*seed"):
        PlayOptions.of(tempo=120)
