"""Directions in the latent space along which an attribute of the band grows, kept beside their checkpoint.

`jaxaccomp latent attribute` fits them; the sampler's callers move z along them.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxaccomp.config import require
from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.weights import checkpoint, export

FILE = "directions.json"
"""Beside a checkpoint's config.json."""
LIMIT = 4.0
"""Standard deviations beyond which hardly a real song lies."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """How one attribute lies in the latent space.

    Attributes:
        title: the attribute in words, with its unit.
        step: how z differs between songs that differ by one standard deviation of this attribute, and in no other.
        mean: of the attribute over the songs it was fitted on.
        deviation: its standard deviation over them.
        r2: share of its variance explained on held-out songs.
        response: mean of the attribute in what is played when so many steps are asked for, if it was measured.
    """

    title: str
    step: tuple[float, ...]
    mean: float
    deviation: float
    r2: float
    response: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Directions:
    """All directions of one checkpoint.

    Attributes:
        fingerprint: of the checkpoint's MusicVAE.
        by_name: direction by attribute.
        fitted_on: what they were fitted and measured on, in words and numbers.
    """

    fingerprint: str
    by_name: Mapping[str, Direction]
    fitted_on: Mapping[str, str | int] = field(default_factory=dict)

    def shift(self, amounts: Mapping[str, float | int]) -> Float[np.ndarray, " Z"]:
        """What to add to z.

        Args:
            amounts: steps by attribute; 1 asks for one standard deviation more than now.

        Raises:
            ConfigError: an unknown attribute, or more than `LIMIT` steps.
        """
        total = np.zeros(len(next(iter(self.by_name.values())).step))
        for name, amount in amounts.items():
            if name not in self.by_name:
                raise ConfigError(f"there is no direction {name!r}; there are {', '.join(self.by_name)}")
            require(
                bool(abs(amount) <= LIMIT),
                f"{name}: expected between -{LIMIT:g} and {LIMIT:g} standard deviations, got {amount:g}",
            )
            total += amount * np.asarray(self.by_name[name].step)
        return total.astype(np.float32)


def load(path_or_name: str | os.PathLike = checkpoint.DEFAULT) -> Directions:
    """The directions of a checkpoint.

    Raises:
        CheckpointError: there are none, they are damaged, or belong to another checkpoint.
    """
    file = checkpoint.resolve(path_or_name) / FILE
    refit = f"fit them: python -m jaxaccomp latent attribute --checkpoint {path_or_name} --data LATENTS"
    if not file.is_file():
        raise CheckpointError(f"{path_or_name}: has no attribute directions ({file.name}); {refit}")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        by_name = {
            name: Direction(**entry | {"step": tuple(map(float, entry["step"]))})
            for name, entry in stored["directions"].items()
        }
        fingerprint, fitted_on = stored["fingerprint"], stored["fitted_on"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: is damaged ({error!r}); {refit}") from error
    if fingerprint != checkpoint.fingerprint(path_or_name, "musicvae"):
        raise CheckpointError(f"{file}: belongs to another MusicVAE ({fingerprint[:16]}); {refit}")
    return Directions(fingerprint, by_name, fitted_on)


def save(directions: Directions, file: Path) -> None:
    """Writes directions; the file appears whole.

    Raises:
        CheckpointError: it cannot be written.
    """
    entries = {name: asdict(direction) for name, direction in directions.by_name.items()}
    for entry in entries.values():
        entry["step"] = [float(f"{value:.5g}") for value in entry["step"]]
        for key in ("mean", "deviation", "r2"):
            entry[key] = float(f"{entry[key]:.4g}")
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    told = (
        f'"fingerprint": {json.dumps(directions.fingerprint)},\n "fitted_on": {json.dumps(dict(directions.fitted_on))}'
    )
    text = f'{{\n {told},\n "directions": {{\n{lines}\n }}\n}}\n'
    export.write(file, lambda out: out.write(text.encode()))
