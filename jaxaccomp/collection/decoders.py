"""The model on every local device, loaded when the first batch comes, and what it plays by."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxaccomp.config import DTYPES, require, to_json
from jaxaccomp.generate.batcher import Batch, Decoded

_REVISION = 3
"""Of what the program plays; raised when the same song with the same options would get other notes."""


@dataclass(frozen=True)
class Music:
    """What decides the notes, beside the song and the checkpoint; see `collection.run`."""

    seed: int = 0
    temperature: tuple[float, ...] = ()
    parts: tuple[str, ...] = ("bass", "drums")
    keep: str = "melody"
    melody: str | int = "default"
    spread: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require(
            0 < len(set(self.parts)) == len(self.parts) and set(self.parts) <= {"bass", "drums"},
            f"parts must be bass, drums or both, got {', '.join(self.parts) or 'none'}",
        )
        require(self.dtype in DTYPES, f"dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}")
        require(self.keep in ("melody", "all"), f"keep must be melody or all, got {self.keep!r}")

    def digest(self) -> str:
        """16 hex digits that differ where notes may."""
        return hashlib.sha256(json.dumps([_REVISION, to_json(self)]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DeviceDecoders:
    """The model on every local device.

    Attributes:
        decoders: for each device, what hands it a batch and returns what is played to be.
        batch_size: windows in a batch.
    """

    decoders: list[Callable[[Batch], Decoded]]
    batch_size: int

    @classmethod
    def on_all_devices(cls, checkpoint: str, music: Music, batch_size: int = 0) -> "DeviceDecoders":
        """A band that loads its model when it is first asked to play, so that songs can be read meanwhile.

        Args:
            checkpoint: name or path.
            music: how to play.
            batch_size: windows in a batch; 0 for the sampler's largest block.
        """
        import jax

        from jaxaccomp.generate.decoding import blocks

        model = _Model(checkpoint, music.dtype)
        decoders = [partial(_decode, model, device, music) for device in jax.local_devices()]
        return cls(decoders, batch_size or blocks.sizes()[-1])


class _Model:
    """A checkpoint, read once for all devices."""

    def __init__(self, checkpoint: str, dtype: str):
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._players: dict[Any, Any] = {}

    def on(self, device: Any) -> Any:
        """The accompanist whose parameters lie on this device."""
        import jax

        from jaxaccomp.generate import accompanist

        with self._lock:
            if self._loaded is None:
                self._loaded = accompanist.load(self._checkpoint, dtype=self._dtype)
            if device not in self._players:
                band = self._loaded
                params = jax.device_put(band.params, device)
                self._players[device] = accompanist.Accompanist(band.config, params, dtype=self._dtype)
            return self._players[device]


def _decode(model: _Model, device: Any, music: Music, batch: Batch) -> Decoded:
    import jax

    with jax.default_device(device):
        return model.on(device).play(
            *batch.rows,
            seed=music.seed,
            temperature=music.temperature,
            parts=music.parts,
            spread=music.spread,
        )
