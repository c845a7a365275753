"""Examples of a dataset: their features, how they are stored, and which tokens may be in them."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.errors import DatasetError

Columns = dict[str, tuple[tuple[int, ...], Any]]
"""Shape and type by feature; the type `str` is a text."""


def features(columns: Columns) -> Any:
    """TFDS features of examples.

    Args:
        columns: shape and type of each. Arrays are stored as their bytes, which is much faster to read than lists of
            numbers and means the same to a reader.
    """
    import tensorflow_datasets as tfds

    def feature(shape: tuple[int, ...], dtype: Any) -> Any:
        if dtype is str:
            return tfds.features.Text()
        if not shape:
            return tfds.features.Scalar(dtype=dtype)
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)

    return tfds.features.FeaturesDict({name: feature(*column) for name, column in columns.items()})


def read_columns(folder: Path) -> Columns:
    """Shape and type of each feature, from TFDS's own description."""
    try:
        described = json.loads((folder / "features.json").read_text(encoding="utf-8"))["featuresDict"]["features"]
        columns: Columns = {}
        for name, feature in described.items():
            if "text" in feature:
                columns[name] = (), str
                continue
            tensor = feature.get("tensor") or feature.get("scalar", {})
            shape = tensor.get("shape", {}).get("dimensions", [])
            dtype = tensor.get("dtype") or feature["scalar"]["tensor"]["dtype"]
            columns[name] = tuple(int(size) for size in shape), np.dtype(dtype).type
        return columns
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder}: features.json is damaged ({error!r}); write the dataset again") from error


def decoded(records: Iterable[bytes], columns: Columns) -> dict[str, np.ndarray]:
    """Arrays from serialized examples. TFDS's own parser does the same, several times slower."""
    from tensorflow_datasets.proto import tf_example_pb2

    values: dict[str, list] = {name: [] for name in columns}
    for record in records:
        stored = tf_example_pb2.Example.FromString(record).features.feature  # ty: ignore[missing-attribute]
        for name, (shape, dtype) in columns.items():
            feature = stored[name]
            if dtype is str or shape:
                values[name].append(feature.bytes_list.value[0])
            else:
                values[name].append((feature.int64_list.value or feature.float_list.value)[0])
    decoded = {}
    for name, (shape, dtype) in columns.items():
        if dtype is str:
            decoded[name] = np.array(values[name], object)
        elif shape:
            decoded[name] = np.frombuffer(b"".join(values[name]), dtype).reshape(-1, *shape)
        else:
            decoded[name] = np.array(values[name], dtype)
    return decoded


def require_vocabulary(
    columns: dict[str, np.ndarray], place: Callable[[int], str], rows: Sequence[int] | np.ndarray
) -> None:
    """Refuses tokens that no model knows: gathers would take them for others, without a word.

    Args:
        columns: decoded examples.
        place: file and record of a row.
        rows: of the examples.

    Raises:
        DatasetError: names file and record.
    """
    kinds = {"tokens": tuple(VOCABULARY[part] for part in PARTS)} | VOCABULARY
    for name, values in columns.items():
        if name in kinds and len(values):
            wrong = (values < 0) | (values >= np.array(kinds[name]))
            if wrong.any():
                first = int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))
                token = values[first][wrong[first]].flat[0]
                raise DatasetError(
                    f"{place(int(rows[first]))} holds the token {token} in {name!r}, beyond the vocabulary of "
                    f"{', '.join(f'{part} {size}' for part, size in VOCABULARY.items())}; write the dataset again"
                )
