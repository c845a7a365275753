"""The model on every local device, loaded when the first batch comes."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxaccomp import runtime
from jaxaccomp.config import ModelConfig
from jaxaccomp.errors import JaxAccompError
from jaxaccomp.generate import scoring
from jaxaccomp.generate.batcher import Batch, Decoded
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.scoring import Scores, TakeScorer

MANY_SONGS = 200
"""From here on a collection's run makes up for the seconds that more devices take to start."""
_AT_A_TIME = 3
"""Batches that a CPU works on where `decoding.native` decodes: what of one is not shared out among the cores, such as
drawing its latents, goes on beside the decoding of the others."""


@dataclass(frozen=True)
class DeviceDecoders:
    """The model on every local device.

    Attributes:
        decoders: what hands a device a batch and returns what is played to be; one for each batch that is worked on at
            a time, of which a device may have several.
        scorer: what an attempt is worth.
        batch_size: windows in a batch.
        drums_first: whether drums are chosen before the bass, see `scoring`.
        takes_any: whether a batch costs as much as its windows, so that an idle device had better have a small one.
        prepare: loads the model, which is otherwise done when the first batch comes.
    """

    decoders: list[Callable[[Batch], Decoded]]
    scorer: TakeScorer
    batch_size: int
    drums_first: bool = False
    takes_any: bool = False
    prepare: Callable[[], Any] = lambda: None

    @classmethod
    def on_all_devices(cls, checkpoint: str, options: PlayOptions, batch_size: int = 0) -> "DeviceDecoders":
        """A band that loads its model when it is first asked to play, so that songs can be read meanwhile.

        Args:
            checkpoint: name or path.
            options: how to play.
            batch_size: windows in a batch; 0 for the sampler's largest block.
        """
        import jax

        from jaxaccomp.generate.decoding import blocks, native
        from jaxaccomp.weights import checkpoint as checkpoints

        config = checkpoints.shapes(checkpoint)[0]
        model = _Model(checkpoint, options)
        devices = jax.local_devices()
        is_native = options.dtype == "float32" and native.fits(config.musicvae) and native.is_available()
        if is_native:
            devices = devices[:1] * max(_AT_A_TIME, len(devices))
        decoders = [partial(model.decode, device) for device in devices]
        first = scoring.drums_first(options.for_checkpoint(config), config)
        size = batch_size or blocks.sizes()[-1]
        return cls(decoders, model.score, size, first, is_native, partial(model.prepare, devices))


def use_all_cores(songs: int, config: ModelConfig, options: PlayOptions) -> None:
    """Plays a large collection on one virtual device for each core of a CPU, where that is faster; before JAX starts.

    XLA's steps of a narrow model are too short to be shared out among cores: two devices of a thread each decode half
    as much again as one of two threads. A wide model's products use all cores as they are, and so does `native`. Notes
    do not depend on it.

    Args:
        songs: of the collection.
        config: of the checkpoint.
        options: how to play.
    """
    if songs < MANY_SONGS:
        return
    from jaxaccomp.generate.decoding import native
    from jaxaccomp.models import lstm_scan

    is_native = options.dtype == "float32" and native.fits(config.musicvae)
    if max(config.musicvae.decoder_sizes) < lstm_scan.WIDE and not is_native:
        runtime.use_device_for_each_core()


class _Model:
    """A checkpoint, read once for all devices, when it is first needed."""

    def __init__(self, checkpoint: str, options: PlayOptions):
        self._checkpoint, self._options = checkpoint, options
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._scorer: TakeScorer | None = None
        self._on_device: dict[Any, Any] = {}

    def prepare(self, devices: Sequence[Any]) -> None:
        """Loads the model to devices; if it cannot be, the first batch will say so."""
        with contextlib.suppress(JaxAccompError):
            for device in devices:
                self._accompanist(device)

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
