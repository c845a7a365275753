"""Every setting of playing has one home, and collections begun before it are not begun again."""

import dataclasses

import pytest

from jaxaccomp.config import PRESETS, CriticConfig, GuideConfig, ModelConfig
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
    assert PlayOptions(parts=("drums", "bass"), temperature=(0.1, 0.2)).temperatures(False)["drums"] == 0.1


def test_temperatures_left_open_are_hotter_where_the_bass_is_guided():
    options = PlayOptions(parts=("drums",), temperature=(0.1,))
    assert PlayOptions().temperature is None
    assert PlayOptions().temperatures(guided=False) == {"bass": 0.45, "drums": 0.25}
    assert options.temperatures(guided=True) == {"bass": 0.8, "drums": 0.1}


def test_what_is_left_to_the_checkpoint_depends_on_its_guide_and_critic():
    plain = ModelConfig(musicvae=PRESETS["tiny"])
    whole = dataclasses.replace(plain, guide=GuideConfig(), critic=CriticConfig())
    settled = PlayOptions().for_checkpoint(whole)
    assert (settled.candidates, settled.guidance) == (8, 1.0)
    assert settled.for_checkpoint(whole) == settled
    assert PlayOptions().for_checkpoint(plain).digest() == PlayOptions(**fast()).digest()
    assert PlayOptions(candidates=3).for_checkpoint(plain).candidates == 3


def test_of_names_a_setting_that_there_is_not():
    with pytest.raises(ConfigError, match=r"has no field sede; did you mean seed\? It has .*temperature"):
        PlayOptions.of(sede=120)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"parts": "bass"}, "parts", ("bass",)),
        ({"parts": "drums, bass"}, "parts", ("drums", "bass")),
        ({"temperature": {"bass": 0.9}}, "temperature", (0.9, 0.45)),
        ({"temperature": {"bass": 0.9}, "guidance": 0}, "temperature", (0.9, 0.25)),
        ({"temperature": {"bass": 0.9}, "parts": "drums"}, "temperature", (0.45,)),
        ({"density": {"drums": 2}}, "density", (1.0, 2.0)),
    ],
)
def test_of_takes_parts_by_name(given, name, expected):
    assert getattr(PlayOptions.of(**given), name) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": 1.5}, "seed: expected a whole number, got 1.5"),
        ({"seed": "first"}, "seed: expected a whole number, got 'first'"),
        ({"temperature": "hot"}, "temperature: expected a number, got 'hot'"),
        ({"temperature": {"piano": 1}}, "temperature: expected values for bass and drums, got one for piano"),
        ({"parts": 3}, "parts must be some of bass, drums, each once, got 3"),
        ({"parts": "piano"}, "parts must be some of bass, drums, each once, got piano"),
    ],
)
def test_of_answers_mistakes_in_words(given, words):
    with pytest.raises(ConfigError) as raised:
        PlayOptions.of(**given)
    assert str(raised.value) == words
