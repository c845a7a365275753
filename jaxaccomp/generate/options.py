"""Every setting of playing: declared, checked and explained once.

`accompany`'s keywords, `infer.py`'s flags and help, and the digest by which a collection resumes all come from here. A
new setting is a new field. One that changes notes has `before`, the value that plays as if the setting did not exist:
at that value it leaves the digest alone, so that collections begun by an earlier version go on, and `fast` sets it.

No JAX is loaded here: the worker processes of a collection need these settings, too.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxaccomp.arrays import BAND
from jaxaccomp.config import ModelConfig, from_json, require, setting, to_json
from jaxaccomp.errors import ConfigError

TEMPERATURE = {"bass": 0.45, "drums": 0.25}
"""Sampling temperature by part, without guidance. Far below these the drummer repeats one bar and the bass falls
silent, far above both get ragged; drums stand less heat than the bass."""
GUIDED_TEMPERATURE = {"bass": 0.8, "drums": 0.45}
"""With guidance, which keeps a hotter bass to the chords: at 0.8 it leaps as real basses do."""

CANDIDATES = 8
"""Attempts at each window, if there is a critic to choose among them: the knee of quality against time."""

_REVISION = 3
"""Of what the program plays; raised when the same song with the same settings would get other notes."""
_CHOOSING = 2
"""Of how attempts are guided and chosen, likewise, where they are."""
_ORIGINAL = ("seed", "temperature", "parts", "keep", "melody", "spread", "dtype")
"""Settings that every digest is made of, in this order."""


@functools.cache
def _hints(options: type) -> dict[str, Any]:
    """Types of the fields: asked for with every batch, and slow to find out."""
    return typing.get_type_hints(options)


@dataclass(frozen=True, kw_only=True)
class PlayOptions:
    """How to play. Everything that decides the notes, beside the song and the checkpoint.

    `temperature` is one value for each of `parts` once an object is made, whatever it was made from, or None where it
    was left to `temperatures`.
    """

    seed: int = setting(0, "another seed, another band", metavar="N")
    temperature: tuple[float, ...] | None = setting(
        None,
        "how adventurous: one value, or bass,drums; 0 always plays what is likeliest (default: "
        f"{','.join(f'{GUIDED_TEMPERATURE[part]:g}' for part in BAND)}, without guidance "
        f"{','.join(f'{TEMPERATURE[part]:g}' for part in BAND)})",
        metavar="T[,T]",
    )
    spread: float = setting(
        1.0,
        "how far each take strays from the model's best guess of the style; 0 is the guess itself, where the bass "
        "plays hardly a note",
        metavar="S",
    )
    variations: int = setting(1, "takes of each song", metavar="K")
    melody: str | int = setting(
        "default",
        "the melody's track, by number or name, several as A,B, or the rule that finds it: default, magenta",
        metavar="TRACK",
    )
    keep: Literal["melody", "all"] = setting("melody", "what stays of the original: its melody, or every track")
    parts: tuple[str, ...] = setting(BAND, "which parts to play", has_own_flag=True)
    dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "numbers that the model computes with; bfloat16 is for accelerators"
    )
    guidance: float = setting(
        1.0,
        "weight of what melody and drums say of the bass's pitches and onsets, if the checkpoint has a guide; 0 is off",
        metavar="X",
        before=0.0,
    )
    candidates: int | None = setting(
        None,
        f"how often each window is played to choose the best from (default: {CANDIDATES}, or 1 without a critic)",
        metavar="N",
        before=1,
    )
    refine: int = setting(
        0,
        "gradient steps that fit each attempt closer to the melody, each about as much work as playing once",
        metavar="STEPS",
        before=0,
        between=(0, 100),
    )
    density: tuple[float, ...] = setting(
        (1.0, 1.0),
        "how many notes bass and drums play, as a share of what they would: one value, or bass,drums",
        metavar="X[,X]",
        before=(1.0, 1.0),
    )
    fills: Literal["any", "none", "few", "many"] = setting(
        "any",
        "where the drums break out of the groove: as they come, nowhere, before a new section, or every eight bars; "
        "chosen among candidates",
        before="any",
    )
    pace: Literal["normal", "half", "double"] = setting(
        "normal",
        "how fast the band plays beside the melody: half time, double time",
        has_own_flag=True,
        before="normal",
    )
    swing: float = setting(
        50.0,
        "where generated off-beat eighths lie in their beat, per cent: 50 is straight, 66 triplets, 75 dotted",
        metavar="PERCENT",
        between=(50, 75),
        before=50.0,
    )
    humanize: float = setting(
        0.0,
        "how far timing and dynamics stray as drummers' do: 0 not at all, 1 as theirs",
        metavar="X",
        between=(0, 1),
        before=0.0,
    )
    bass_octave: int = setting(0, "octaves by which the bass is moved", metavar="N", between=(-2, 2), before=0)
    bass_program: int = setting(
        33, "General MIDI instrument of the bass, from 0", metavar="N", between=(0, 127), before=33
    )
    kit: int = setting(
        0,
        "General MIDI drum kit: 0 standard, 16 power, 25 TR-808, 32 jazz, 40 brush",
        metavar="N",
        between=(0, 127),
        before=0,
    )
    steer: tuple[str, ...] = setting(
        (),
        "more or less of an attribute, in standard deviations of real songs, e.g. bass_density=1,fills=-0.5; "
        "also drum_density, syncopation, open_hats, bass_register, offbeats, backbeat",
        metavar="NAME=X,…",
        before=(),
    )
    like: str | None = setting(
        None, "a MIDI file whose bass and drums are taken as the model", metavar="REF.mid", before=None
    )
    like_amount: float = setting(
        1.0,
        "how much of its manner: 0 leaves the band its own, 1 takes all of it",
        metavar="X",
        between=(0, 1),
        before=1.0,
    )
    given: Literal["bass", "drums"] | None = setting(
        None, "keep this part of the song as it is, and play the other one to it", before=None, is_for_one_song=True
    )
    retries: int = setting(
        5, "how often at most a window is played again in which a part rests in too many bars", metavar="N", before=5
    )

    def __post_init__(self) -> None:
        require(-(2**31) <= self.seed < 2**32, f"seed must fit in 32 bits, got {self.seed}")
        require(
            0 < len(set(self.parts)) == len(self.parts) and set(self.parts) <= set(BAND),
            f"parts must be some of {', '.join(BAND)}, each once, got {', '.join(self.parts) or 'none'}",
        )
        require(0 <= self.spread < math.inf, f"spread must be 0 or more, got {self.spread}")
        require(self.variations >= 1, f"variations must be at least 1, got {self.variations}")
        require(
            self.candidates is None or self.candidates >= 1, f"candidates must be at least 1, got {self.candidates}"
        )
        density = self.density * (2 if len(self.density) == 1 else 1)
        require(
            len(density) == 2 and all(0.25 <= factor <= 4 for factor in density),
            f"density must be one value or two (bass,drums) from 0.25 to 4, got {', '.join(map(str, self.density))}",
        )
        object.__setattr__(self, "density", density)
        _ = self.steps  # checks `steer`
        if self.given is not None:
            others = tuple(part for part in self.parts if part != self.given)
            require(len(others) > 0, f"given {self.given} leaves nothing to play; the parts asked for are {self.parts}")
            if len(others) < len(self.parts) and self.temperature is not None and len(self.temperature) > 1:
                kept = [self.temperature[self.parts.index(part)] for part in others]
                object.__setattr__(self, "temperature", tuple(kept))
            object.__setattr__(self, "parts", others)
        require(self.retries >= 0, f"retries must be 0 or more, got {self.retries}")
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), typing.get_args(hints[field.name])
            if typing.get_origin(hints[field.name]) is Literal:
                require(value in choices, f"{field.name} must be {' or '.join(choices)}, got {value!r}")
            if "between" in field.metadata:
                low, high = field.metadata["between"]
                require(low <= value <= high, f"{field.name} must lie between {low} and {high}, got {value:g}")
        require(0 <= self.guidance < math.inf, f"guidance must be 0 or more, got {self.guidance}")
        if self.temperature is not None:
            object.__setattr__(self, "temperature", resolve_temperature(self.temperature, self.parts))

    @classmethod
    def of(cls, **settings: Any) -> "PlayOptions":
        """Options from settings as callers give them: any sequence of parts, one temperature or several, any number.

        Raises:
            ConfigError: an unknown setting, or one out of its range.
        """
        settings = dict(settings)
        if "parts" in settings:
            settings["parts"] = _parts(settings["parts"])
        usual = GUIDED_TEMPERATURE if settings.get("guidance", True) else TEMPERATURE
        for name, default in (("temperature", usual), ("density", dict.fromkeys(BAND, 1.0))):
            if settings.get(name) is not None:
                parts = settings.get("parts", BAND) if name == "temperature" else BAND
                settings[name] = _for_each_part(name, settings[name], parts, default)
        try:
            return from_json(cls, settings, "setting")
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("setting: ")) from error

    @property
    def attempts(self) -> int:
        """Candidates of each window; 1 where that was left to a checkpoint that is not known here."""
        return self.candidates or 1

    @property
    def enough(self) -> float:
        """Coverage up to which a window is played again: who asks for fewer notes gets emptier bars."""
        return min(1.0, *self.density)

    def for_checkpoint(self, config: ModelConfig) -> "PlayOptions":
        """These options with what was left to the checkpoint settled, and without what it cannot do.

        Args:
            config: of the checkpoint.
        """
        candidates = self.candidates or (CANDIDATES if config.critic is not None else 1)
        guidance = self.guidance if config.guide is not None else 0.0
        return dataclasses.replace(self, candidates=candidates, guidance=guidance)

    def for_part(self, part: str) -> "PlayOptions":
        """These options for one of the parts: drums alone, or the bass to drums that are given."""
        heat = self.temperature and (self.temperature[self.parts.index(part)],)
        given = "drums" if part == "bass" else None
        return dataclasses.replace(self, parts=(part,), temperature=heat, given=given)

    def temperatures(self, guided: bool) -> dict[str, float]:
        """Sampling temperature of each part that can be played.

        Args:
            guided: whether the bass is guided: the checkpoint has a guide, and `guidance` is not 0.
        """
        default = GUIDED_TEMPERATURE if guided else TEMPERATURE
        given = {} if self.temperature is None else dict(zip(self.parts, self.temperature, strict=True))
        return {**default, **given}

    @property
    def steps(self) -> dict[str, float]:
        """`steer` by attribute."""
        found = {}
        for text in self.steer:
            name, _, amount = text.partition("=")
            try:
                found[name.strip().replace("-", "_")] = float(amount)
            except ValueError as error:
                raise ConfigError(f"steer: expected NAME=NUMBER, such as bass_density=1, got {text!r}") from error
        return found

    def digest(self) -> str:
        """16 hex digits that differ where notes may."""
        values = to_json(self)
        kept = {name: values[name] for name in _ORIGINAL}
        if kept["temperature"] is None and not self.guidance:
            kept["temperature"] = resolve_temperature(None, self.parts)
        for field in dataclasses.fields(self):
            if "before" in field.metadata and getattr(self, field.name) != field.metadata["before"]:
                kept[field.name] = _content(self.like) if field.name == "like" else values[field.name]
        if self.guidance or self.candidates != 1:
            kept["choosing"] = _CHOOSING
        return hashlib.sha256(json.dumps([_REVISION, kept]).encode()).hexdigest()[:16]


def _content(path: str | None) -> str | None:
    """What decides the notes of a file: its bytes, not its place."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
    return path  # playing will tell what is wrong with it


def fast() -> dict[str, Any]:
    """The settings that play as the program did before it chose among attempts: one draw, nothing weighed."""
    fields = dataclasses.fields(PlayOptions)
    return {field.name: field.metadata["before"] for field in fields if "before" in field.metadata}


def resolve_temperature(temperature: Any, parts: Sequence[str]) -> tuple[float, ...]:
    """One temperature for each part.

    Args:
        temperature: None for the defaults, one number, or one for each part.
        parts: what is played.

    Raises:
        ConfigError: a negative or unmeant value, or another number of them than of parts.
    """
    if temperature is None:
        return tuple(TEMPERATURE[part] for part in parts)
    try:
        values = tuple(map(float, temperature)) if hasattr(temperature, "__iter__") else (float(temperature),)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"temperature: expected numbers, got {temperature!r}") from error
    if len(values) == 1:
        values *= len(parts)
    if len(values) != len(parts):
        raise ConfigError(f"temperature: expected one value, or one for each of {', '.join(parts)}, got {len(values)}")
    if not all(0 <= value < math.inf for value in values):
        raise ConfigError(f"temperature: expected 0 or more, got {', '.join(f'{value:g}' for value in values)}")
    return values


def _parts(parts: Any) -> list[str]:
    """Names of parts from a sequence of them, or from text such as "bass" or "bass,drums"."""
    if isinstance(parts, str):
        return [part.strip() for part in parts.split(",")]
    try:
        return list(parts)
    except TypeError as error:
        raise ConfigError(f"parts must be some of {', '.join(BAND)}, each once, got {parts!r}") from error


def _for_each_part(name: str, value: Any, parts: Sequence[str], default: Mapping[str, float]) -> list[Any]:
    """A list of values from one, from one for each part, or from a dict of some parts."""
    if not isinstance(value, Mapping):
        return np.ravel(value).tolist()
    unknown = [part for part in value if part not in BAND]
    require(
        not unknown, f"{name}: expected values for {' and '.join(BAND)}, got one for {', '.join(map(str, unknown))}"
    )
    return [value.get(part, default[part]) for part in parts]
