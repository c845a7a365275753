"""The model on every local device, loaded when the first batch comes."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxaccomp.generate import scoring
from jaxaccomp.generate.batcher import Batch, Decoded
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.scoring import Scores, TakeScorer


@dataclass(frozen=True)
class DeviceDecoders:
    """The model on every local device.

    Attributes:
        decoders: for each device, what hands it a batch and returns what is played to be.
        scorer: what an attempt is worth.
        batch_size: windows in a batch.
        drums_first: whether drums are chosen before the bass, see `scoring`.
    """

    decoders: list[Callable[[Batch], Decoded]]
    scorer: TakeScorer
    batch_size: int
    drums_first: bool = False

    @classmethod
    def on_all_devices(cls, checkpoint: str, options: PlayOptions, batch_size: int = 0) -> "DeviceDecoders":
        """A band that loads its model when it is first asked to play, so that songs can be read meanwhile.

        Args:
            checkpoint: name or path.
            options: how to play.
            batch_size: windows in a batch; 0 for the sampler's largest block.
        """
        import jax

        from jaxaccomp.generate.decoding import blocks
        from jaxaccomp.weights import checkpoint as checkpoints

        config = checkpoints.shapes(checkpoint)[0]
        model = _Model(checkpoint, options)
        decoders = [partial(model.decode, device) for device in jax.local_devices()]
        first = scoring.drums_first(options.for_checkpoint(config), config)
        return cls(decoders, model.score, batch_size or blocks.sizes()[-1], first)


class _Model:
    """A checkpoint, read once for all devices, when it is first needed."""

    def __init__(self, checkpoint: str, options: PlayOptions):
        self._checkpoint, self._options = checkpoint, options
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._scorer: TakeScorer | None = None
        self._on_device: dict[Any, Any] = {}

    def decode(self, device: Any, batch: Batch) -> Decoded:
        """Hands a batch to a device."""
        import jax

        with jax.default_device(device):
            return self._accompanist(device).play(*batch.rows, options=self._options)

    def score(self, melody_BL: np.ndarray, tokens_BLP: np.ndarray, parts: Sequence[str]) -> Scores:
        """The `TakeScorer` of the checkpoint and the options."""
        with self._lock:
            if self._scorer is None:
                self._scorer = self._load().scorer(self._options)
        return self._scorer(melody_BL, tokens_BLP, parts)

    def _accompanist(self, device: Any) -> Any:
        """The accompanist whose parameters lie on this device."""
        import jax

        from jaxaccomp.generate.accompanist import Accompanist

        with self._lock:
            if device not in self._on_device:
                loaded = self._load()
                params = jax.device_put(loaded.params, device)
                self._on_device[device] = Accompanist(
                    loaded.config, params, dtype=self._options.dtype, source=loaded.source
                )
            return self._on_device[device]

    def _load(self) -> Any:
        from jaxaccomp.generate import accompanist

        if self._loaded is None:
            self._loaded = accompanist.load(self._checkpoint, dtype=self._options.dtype)
        return self._loaded
