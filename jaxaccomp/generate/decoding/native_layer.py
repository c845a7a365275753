"""One layer in one direction: its weights in the order in which they are read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.generate.decoding import kernels, packing, vectors
from jaxaccomp.models import lstm_scan

GATES_ROWS = 48
"""Rows of gates that one product makes of the layer below: a few steps'. They stay in the cache."""
WIDE_GATES_ROWS = 512
"""The same of a wide layer: so many that reading its weights from memory takes little beside the arithmetic."""
_APART = vectors.LANES
"""Room after each row, so that rows do not begin at multiples of the same power of two, where they would take each
other's place in the cache."""
_NOTHING = np.zeros((1, 1), np.float32)


class NativeLayer:
    """A layer that reads tokens, or the layer below.

    Attributes:
        units: how many.
        width: the same, padded to whole vectors.
    """

    def __init__(
        self,
        layer: Mapping[str, Any],
        below: Sequence[int] = (),
        *,
        initial: Mapping[str, Any] | None = None,
        is_backward: bool = False,
        block: int = 1 << 30,
    ):
        """Packs it.

        Args:
            layer: kernel and bias.
            below: units of each layer that it reads, whose outputs lie side by side; none: it reads tokens.
            initial: kernel and bias of its initial cells and outputs; None: they are zeros.
            is_backward: whether it goes from the last step to the first, and writes the second half of the outputs.
            block: inputs that are summed at a time, but for steps.
        """
        kernel_XG, bias_G = np.asarray(layer["kernel"], np.float32), np.asarray(layer["bias"], np.float32)
        self.units, self._is_backward, self._reads_tokens = len(bias_G) // 4, is_backward, not below
        [self.width] = packing.widths([self.units])
        inputs_XG, nothing_1G = kernel_XG[: -self.units], np.zeros((1, len(bias_G)), np.float32)
        table_VG, below_XG = np.concatenate([inputs_XG, nothing_1G]), nothing_1G
        if below:
            pieces = np.split(inputs_XG, np.cumsum(below)[:-1])
            missing = [(0, -size % vectors.LANES) for size in below]
            table_VG = nothing_1G
            below_XG = np.concatenate([np.pad(piece, [m, (0, 0)]) for piece, m in zip(pieces, missing, strict=True)])
        none = np.zeros((0, 1, vectors.PANEL), np.float32), np.zeros(1, np.float32)
        self._initial = none if initial is None else packing.initial_state(initial, [self.units])
        self._block = block
        self._weights = (
            packing.gates(table_VG),
            packing.dense(packing.gates(below_XG)),
            packing.dense(packing.gates(kernel_XG[-self.units :])),
            packing.gates(bias_G[None])[0],
            self.units,
            *self._initial,
        )

    def new_outputs(self, steps: int, rows: int, directions: int = 1) -> Float[np.ndarray, "M R X"]:
        """Where the outputs of some steps go, side by side those of all directions."""
        return np.empty((steps, rows, directions * self.width + _APART), np.float32)

    def __call__(
        self,
        rows_LRP: Int[np.ndarray, "L R P"],
        below_LRY: Float[np.ndarray, "L R Y"] | None,
        above_MRX: Float[np.ndarray, "M R X"],
        z_RZ: Float[np.ndarray, "R Z"] | None = None,
    ) -> None:
        """Takes all steps.

        Args:
            rows_LRP: numbers of the kernel's rows that are added up for the tokens of a step; one past the last token's
                is a row of zeros.
            below_LRY: outputs of the layer below; None where there is none.
            above_MRX: from `new_outputs`; step t goes to t modulo M, of which 2 are enough where nothing reads all.
            z_RZ: of which the initial state is made.
        """
        rows, stride = above_MRX.shape[1:]
        at_once = max(1, (WIDE_GATES_ROWS if self.units >= lstm_scan.WIDE else GATES_ROWS) // rows)
        kernels.scan(
            *self._weights,
            _NOTHING if z_RZ is None else z_RZ,
            rows_LRP if self._reads_tokens else np.zeros((*rows_LRP.shape[:2], 0), np.int32),
            _NOTHING if below_LRY is None else below_LRY.reshape(-1, below_LRY.shape[2]),
            above_MRX,
            self._is_backward * self.width,
            self._is_backward,
            self._block,
            np.empty((rows, len(self._initial[0]) * vectors.PANEL), np.float32),
            np.empty((rows, stride), np.float32),
            np.zeros((rows, stride), np.float32),
            np.empty((at_once * rows, 4 * self.width + _APART), np.float32),
            np.empty((rows, vectors.PANEL), np.float32),
        )
