"""A checkpoint's arrays in formats that other programs read: NumPy's npz, and safetensors.

Names are those of the checkpoint, such as `musicvae/encoder/layer_0/forward/kernel`; values and layout are untouched
(see docs/guides/export.md for what each array means). Beside the arrays goes one JSON text, `describe`: the layer
sizes, the checkpoint's identity and the versions that wrote the file.
"""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from flax.traverse_util import flatten_dict

import jaxaccomp
from jaxaccomp import files
from jaxaccomp.errors import CheckpointError
from jaxaccomp.weights import checkpoint

METADATA = "jaxaccomp"
"""Name of the JSON text in a file: an npz entry of bytes, or a key of safetensors' metadata."""
_PACKAGES = ("jax", "jaxlib", "flax", "numpy")


def describe(path_or_name: str | os.PathLike) -> dict[str, Any]:
    """What an exported file says of itself: `fingerprint` and `config` of the checkpoint, and `versions`."""
    record = checkpoint.record(checkpoint.resolve(path_or_name))
    return {
        "format_version": 1,
        "fingerprint": checkpoint.fingerprint(path_or_name),
        "config": record["config"],
        "dtype": record["dtype"],
        "provenance": record["provenance"],
        "versions": {"jaxaccomp": jaxaccomp.__version__, **{name: version(name) for name in _PACKAGES}},
    }


def arrays(path_or_name: str | os.PathLike) -> dict[str, np.ndarray]:
    """The checkpoint's arrays by name, as float32."""
    _, params = checkpoint.load(path_or_name)
    present = {model: tree for model, tree in params.items() if tree is not None}
    return {name: np.asarray(leaf) for name, leaf in flatten_dict(present, sep="/").items()}


def to_npz(path_or_name: str | os.PathLike, out: Path) -> int:
    """Writes all arrays as float32 to a NumPy archive; `np.load(out)` reads it without pickling.

    Args:
        path_or_name: of the checkpoint.
        out: the file; replaced if it is there.

    Returns:
        How many arrays.

    Raises:
        CheckpointError: there is no such checkpoint, or the file cannot be written.
    """
    text = np.frombuffer(json.dumps(describe(path_or_name)).encode(), np.uint8)
    entries = arrays(path_or_name)
    write(out, lambda file: np.savez(file, **entries, **{METADATA: text}))
    return len(entries)


def to_safetensors(path_or_name: str | os.PathLike, out: Path) -> int:
    """Writes all arrays as float32 to a safetensors file.

    Args:
        path_or_name: of the checkpoint.
        out: the file; replaced if it is there.

    Returns:
        How many arrays.

    Raises:
        CheckpointError: there is no such checkpoint, or the file cannot be written.
    """
    from safetensors.numpy import save

    told = {METADATA: json.dumps(describe(path_or_name))}
    entries = {name: np.ascontiguousarray(array) for name, array in arrays(path_or_name).items()}
    write(out, lambda file: file.write(save(entries, metadata=told)))
    return len(entries)


def write(out: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file that appears under its name complete, or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(out) as draft, draft.open("wb") as file:
            fill(file)
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be written ({error}); free the place or choose another") from error
