"""Configurations: frozen dataclasses whose fields carry their own help, and the presets.

Each field is made by `setting(default, help)`; command line flags, `--help` and JSON files are generated from them, so
that none can drift from the others. A class checks its own values on construction.
"""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

from jaxaccomp.errors import ConfigError

Config = TypeVar("Config")


def setting(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with a default and one line of meaning and unit, shown by `--help`."""
    return field(default=default, metadata={"help": help, **metadata})


def require(condition: bool, message: str) -> None:
    """Raises ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def _settle_layers(config: Any, *names: str) -> None:
    """Checks fields of layer sizes and keeps them as tuples of plain ints, so that equal configs hash alike."""
    for name in names:
        sizes = getattr(config, name)
        require(
            isinstance(sizes, list | tuple) and len(sizes) > 0 and all(map(_is_size, sizes)),
            f"{type(config).__name__}.{name} must be a tuple of one or more positive layer sizes, got {sizes!r}",
        )
        object.__setattr__(config, name, tuple(map(int, sizes)))


def _settle_latent(config: Any) -> None:
    size = config.latent_size
    require(_is_size(size), f"{type(config).__name__}.latent_size must be a positive whole number, got {size!r}")
    object.__setattr__(config, "latent_size", int(size))


@dataclass(frozen=True, kw_only=True)
class MusicVAEConfig:
    """Sizes of a hierarchical 16-bar trio MusicVAE.

    Source: magenta configs.py, `hierdec-trio_16bar` @526d3eb. There the conductor and the decoders share one list of
    sizes; here each has its own, since nothing in the architecture couples them.
    """

    encoder_sizes: tuple[int, ...] = setting((2048, 2048), "units of each bidirectional encoder layer, per direction")
    conductor_sizes: tuple[int, ...] = setting((1024, 1024), "units of each conductor layer; the last is E")
    decoder_sizes: tuple[int, ...] = setting((1024, 1024), "units of each layer of the three part decoders")
    latent_size: int = setting(512, "size of the latent z")
    initialization: Literal["reference", "fast"] = setting(
        "reference", "how new parameters are drawn: the original's way, or one that learns faster in short runs"
    )

    def __post_init__(self) -> None:
        _settle_layers(self, "encoder_sizes", "conductor_sizes", "decoder_sizes")
        _settle_latent(self)
        require(
            self.initialization in ("reference", "fast"),
            f"MusicVAEConfig.initialization must be 'reference' or 'fast', got {self.initialization!r}",
        )

    @property
    def embedding_size(self) -> int:
        """Width E of a bar embedding: the conductor's top layer."""
        return self.conductor_sizes[-1]


@dataclass(frozen=True, kw_only=True)
class SurrogateConfig:
    """Sizes of a surrogate encoder: melody tokens → posterior over the latent."""

    sizes: tuple[int, ...] = setting((128, 128), "units of each bidirectional layer, per direction")
    latent_size: int = setting(512, "size of the latent z; must be the VAE's")
    predict_scale: bool = setting(True, "whether it also predicts the posterior's scale, or the mean alone")

    def __post_init__(self) -> None:
        _settle_layers(self, "sizes")
        _settle_latent(self)


@dataclass(frozen=True, kw_only=True)
class GuideConfig:
    """Sizes of the experts that guide the bass decoder by the melody, and how much they are worth."""

    harmony_sizes: tuple[int, ...] = setting((256,), "units of each hidden layer of the pitch class expert")
    rhythm_sizes: tuple[int, ...] = setting((96,), "units of each hidden layer of the onset expert")
    harmony_weight: float = setting(1.0, "power of the pitch class expert when the bass is sampled")
    rhythm_weight: float = setting(1.0, "power of the onset expert")

    def __post_init__(self) -> None:
        _settle_layers(self, "harmony_sizes", "rhythm_sizes")
        for name in ("harmony_weight", "rhythm_weight"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"GuideConfig.{name} must be 0 or more, got {value}")


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Sizes of the critic that tells real bands from ours: boosted trees."""

    trees: int = setting(240, "number of trees")
    depth: int = setting(4, "questions from a tree's root to its leaves")
    features: tuple[str, ...] = setting((), "what it asks about, names of `music.patterns`")
    drum_trees: int = setting(0, "number of trees about drums alone; 0: drums and bass are chosen together")
    drum_features: tuple[str, ...] = setting((), "what those ask about")

    def __post_init__(self) -> None:
        for name in ("trees", "depth"):
            value = getattr(self, name)
            require(_is_size(value), f"CriticConfig.{name} must be a positive whole number, got {value!r}")
        require(self.depth <= 10, f"CriticConfig.depth must be at most 10, got {self.depth}")
        require(
            _is_size(self.drum_trees) or self.drum_trees == 0,
            f"CriticConfig.drum_trees must be a whole number, 0 or more, got {self.drum_trees!r}",
        )
        for name in ("features", "drum_features"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class CorrelationConfig:
    """Size of the correlation of a surrogate's errors."""

    latent_size: int = setting(512, "size of the latent z")

    def __post_init__(self) -> None:
        _settle_latent(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a checkpoint holds: a MusicVAE and, once trained, its surrogate, the guide of its bass and its critic.

    `correlation` tells how the surrogate's errors go together; without it each dimension is drawn for itself.
    """

    musicvae: MusicVAEConfig
    surrogate: SurrogateConfig | None = None
    guide: GuideConfig | None = None
    critic: CriticConfig | None = None
    correlation: CorrelationConfig | None = None

    def __post_init__(self) -> None:
        if self.correlation is not None:
            require(
                self.correlation.latent_size == self.musicvae.latent_size,
                f"the correlation's latent has {self.correlation.latent_size} dimensions, the MusicVAE's "
                f"{self.musicvae.latent_size}; fit it again: train.py correlation",
            )
        if self.surrogate is not None:
            require(
                self.surrogate.latent_size == self.musicvae.latent_size,
                f"the surrogate's latent has {self.surrogate.latent_size} dimensions, the MusicVAE's "
                f"{self.musicvae.latent_size}; train the surrogate on latents of this MusicVAE",
            )


DTYPES = ("float32", "bfloat16")
"""What the operands of matrix products may be rounded to."""

PRESETS: dict[str, MusicVAEConfig] = {
    "hierdec-trio_16bar": MusicVAEConfig(),
    "trio-small": MusicVAEConfig(
        encoder_sizes=(128, 128),
        conductor_sizes=(128, 128),
        decoder_sizes=(128, 128),
        latent_size=64,
        initialization="fast",
    ),
    "tiny": MusicVAEConfig(
        encoder_sizes=(16, 16), conductor_sizes=(24, 24), decoder_sizes=(24, 24), latent_size=8, initialization="fast"
    ),
}
"""MusicVAE sizes by name: the original's, the default that ships, and one for tests."""


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, nested configs included."""
    return dataclasses.asdict(config)


def from_json(kind: type[Config], values: Any, where: str = "") -> Config:
    """Rebuilds a config of class `kind` from JSON values.

    Args:
        kind: a config dataclass; nested config fields are rebuilt too.
        values: a dict of field names; absent fields take their defaults.
        where: what to call the source in an error, e.g. a file name.

    Raises:
        ConfigError: unknown field, missing field, or a value of the wrong type, all named.
    """
    place = where or kind.__name__
    if not isinstance(values, dict):
        raise ConfigError(f"{place}: expected an object with the fields of {kind.__name__}, got {values!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # ty: ignore[invalid-argument-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {nearest[0]}? It" if nearest else "it"
        raise ConfigError(f"{place}: {kind.__name__} has no field {', '.join(unknown)}; {hint} has {', '.join(known)}")
    missing = [
        name
        for name, f in known.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{place}: {kind.__name__} lacks the field {', '.join(missing)}")
    return kind(**{name: _coerce(hints[name], value, f"{place}: {name}") for name, value in values.items()})


_IN_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _coerce(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        first, *others = (argument for argument in arguments if argument is not type(None))
        if any(isinstance(other, type) and type(value) is other for other in others):
            return value
        return _coerce(first, value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)
    if origin is Literal:
        require(value in arguments, f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where}: expected a list, got {value!r}")
        return tuple(_coerce(arguments[0], item, where) for item in value)
    if hint in (int, float) and isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool):
        return hint(value)
    good = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    require(good, f"{where}: expected {_IN_WORDS.get(hint, hint.__name__)}, got {value!r}")
    return value
