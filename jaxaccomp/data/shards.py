"""TFDS datasets in ArrayRecord shards, written and read without TensorFlow.

A shard is written under a temporary name and renamed when it is whole, so that every shard under its own name is
complete; the metadata comes last, so that a folder with metadata is a finished dataset. Beside TFDS's own files lies
`songs.jsonl`: one line for each song in the order of the examples, which tells where a song's windows are without
reading them.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp import files, remote
from jaxaccomp.data import codec
from jaxaccomp.errors import DatasetError, RemoteError

VERSION = "1.0.0"
SPLITS = ("train", "validation", "test")
SONGS = "songs.jsonl"
SHARD_WORD = ".array_record-"
"""In the names of shards alone."""
MEMORY_BYTES = 12 << 30
"""A split that takes more than this once decoded is read from disk example by example."""
MODEL_INPUTS = ("tokens", "melody", "bass", "drums", "mean", "scale")
"""Features that are kept in memory; the others tell where an example comes from."""
_READ_AHEAD = 8192


def folder_of(out: str | Path, name: str) -> Path:
    """Where the dataset `name` lies under an `--out` folder."""
    return Path(out) / name / VERSION


def shard_file(folder: Path, name: str, split: str, shard: int, count: int) -> Path:
    """Path of one shard, named as TFDS names it."""
    return folder / f"{name}-{split}{SHARD_WORD}{shard:05d}-of-{count:05d}"


def lengths(examples: int, shard_count: int | None, examples_per_shard: int) -> list[int]:
    """Examples of each shard of a split: as equal as can be, the longer ones first.

    Args:
        examples: of the split.
        shard_count: how many shards; None leaves it to the next.
        examples_per_shard: how many examples a shard holds at most.
    """
    count = shard_count or -(-examples // examples_per_shard)
    count = max(1, min(count, examples)) if examples else 0
    return [examples // count + (shard < examples % count) for shard in range(count)]


def write_shard(file: Path, columns: codec.Columns, examples: Iterable[dict]) -> None:
    """Writes one shard whole, or not at all; the same examples always give the same bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter  # ty: ignore[import-not-found]
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    schema = codec.features(columns)
    serializer = ExampleSerializer(schema.get_serialized_info())
    temporary = files.temporary_path(file)
    failures = (OSError, RuntimeError)  # the ArrayRecord library's are RuntimeErrors
    with writing(file, failures):
        writer = ArrayRecordWriter(str(temporary), "group_size:1")  # each example is reachable on its own
    try:
        for example in examples:
            proto = serializer.get_tf_example(schema.encode_example(example))
            with writing(file, failures):
                writer.write(proto.SerializeToString(deterministic=True))
        with writing(file, failures):
            writer.close()
            os.replace(temporary, file)
    finally:
        if writer.is_open():
            writer.close()
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: str | os.PathLike, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Tells what cannot be written, and why, in one sentence.

    Raises:
        DatasetError: in place of one of the failures.
    """
    try:
        yield
    except failures as error:
        reason = str(error).split("\n")[0][:200]
        raise DatasetError(f"{path}: cannot be written ({reason}); free the place or choose another --out") from error


def clear(folder: Path) -> None:
    """Removes what a killed run has left half written."""
    for leftover in folder.glob(".*"):
        leftover.unlink()


def write_metadata(
    folder: Path,
    name: str,
    columns: codec.Columns,
    shard_lengths: dict[str, list[int]],
    description: str,
    metadata: dict[str, Any],
) -> None:
    """Writes what makes a folder of shards a dataset that `tfds.builder_from_directory` opens."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info, file_adapters, naming

    info = dataset_info.DatasetInfo(
        builder=dataset_info.DatasetIdentity(name=name, version=VERSION, data_dir=str(folder), module_name=""),
        features=codec.features(columns),
        description=description,
        metadata=tfds.core.MetadataDict(metadata),
    )
    info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=counts,
            num_bytes=sum(
                shard_file(folder, name, split, shard, len(counts)).stat().st_size for shard in range(len(counts))
            ),
            filename_template=naming.ShardedFileTemplate(
                data_dir=folder, dataset_name=name, split=split, filetype_suffix="array_record"
            ),
        )
        for split, counts in shard_lengths.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(folder)


def find(source: str | os.PathLike) -> Path:
    """The version folder of the one dataset at or under `source`.

    Raises:
        DatasetError: none there, or several.
    """
    source = _here(os.fspath(source))
    if (source / "dataset_info.json").is_file():
        return source
    found = sorted(path.parent for path in source.glob("*/*/dataset_info.json"))
    found += sorted(path.parent for path in source.glob("*/dataset_info.json"))
    if not found:
        raise DatasetError(
            f"{source}: no finished dataset here; expected the folder given as --out to `windows` or `latents`, "
            "or a version folder with dataset_info.json"
        )
    if len(found) > 1:
        raise DatasetError(
            f"{source}: several datasets here ({', '.join(str(path.relative_to(source)) for path in found)}); name one"
        )
    return found[0]


def _here(source: str) -> Path:
    """The folder itself, or that of this machine which stands for one on a bucket; its shards come when read."""
    return _mirrored(source) if remote.scheme(source) is not None else Path(source)


@functools.lru_cache(maxsize=8)  # a run asks for its data several times
def _mirrored(source: str) -> Path:
    return remote.mirror(remote.path(source), "datasets", lazily=SHARD_WORD)


def open_split(source: str | os.PathLike, split: str, memory_bytes: int | None = None) -> "Split":
    """Opens one split of a dataset this project wrote.

    Args:
        source: folder of the dataset.
        split: its name.
        memory_bytes: a split that takes no more than this once decoded is decoded here, once; a larger one example by
            example, whenever one is asked for. None: `MEMORY_BYTES`.

    Raises:
        DatasetError: no dataset, no such split, or shards that do not hold what the metadata says.
    """
    return Split(find(source), split, MEMORY_BYTES if memory_bytes is None else memory_bytes)


def read_metadata(source: str | os.PathLike) -> dict[str, Any]:
    """Name, splits and what the writer recorded, e.g. `latent_size`."""
    folder = find(source)
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        own_file = folder / "metadata.json"
        own = json.loads(own_file.read_text(encoding="utf-8")) if own_file.exists() else {}
        counts = {split["name"]: [int(n) for n in split.get("shardLengths", [])] for split in info.get("splits", [])}
        return own | {"name": info["name"], "shard_lengths": counts}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder}: the metadata is damaged ({error}); write the dataset again") from error


def require_kind(source: str | os.PathLike, name: str) -> dict[str, Any]:
    """`read_metadata` of a dataset that must be the one of this name.

    Raises:
        DatasetError: it is another one.
    """
    metadata = read_metadata(source)
    if metadata["name"] != name:
        raise DatasetError(
            f"{source}: holds {metadata['name']}, expected {name}; how to make them tells: "
            f"python -m jaxaccomp {name.removeprefix('trio_')} --help"
        )
    return metadata


def require_latent_size(source: str | os.PathLike, latent_size: int) -> None:
    """Refuses a dataset that does not hold latents of a model's size.

    Raises:
        DatasetError: it holds windows, or latents of a MusicVAE with another z.
    """
    metadata = require_kind(source, "trio_latents")
    stored = metadata.get("latent_size")
    if stored != latent_size:
        raise DatasetError(
            f"{source}: holds latents of {stored} dimensions, made by checkpoint {str(metadata['checkpoint'])[:12]}, "
            f"and the model's latent has {latent_size}; make latents with the checkpoint you use"
        )


class Split:
    """The examples of one split, by row.

    Attributes:
        metadata: what the dataset says of itself.
        windows_by_song: examples of each song [N], in the order in which they lie in the split.
        songs: lines of `songs.jsonl` that belong here.
    """

    def __init__(self, folder: Path, split: str, memory_bytes: int):
        self.metadata = read_metadata(folder)
        self.folder, self.split = folder, split
        name, counts = self.metadata["name"], self.metadata["shard_lengths"]
        if split not in counts:
            raise DatasetError(f"{folder}: no split '{split}'; there are {', '.join(counts) or 'none'}")
        self._files = [shard_file(folder, name, split, i, len(counts[split])) for i in range(len(counts[split]))]
        self._ends = np.cumsum(counts[split], dtype=np.int64)
        self._columns = codec.read_columns(folder)
        missing = [file.name for file in self._files if not remote.expected(file)]
        if missing:
            raise DatasetError(f"{folder}: {len(missing)} shards are missing, first {missing[0]}; write it again")
        self.songs = [song for song in read_songs(folder) if song["split"] == split]
        self.windows_by_song = np.array([song["windows"] for song in self.songs], np.int64)
        if self.windows_by_song.sum() != len(self):
            raise DatasetError(
                f"{folder}: {SONGS} tells of {self.windows_by_song.sum()} examples in '{split}', the shards hold "
                f"{len(self)}; write the dataset again"
            )
        self._readers: dict[int, Any] = {}
        self._memory: dict[str, np.ndarray] | None = None
        self._inputs = tuple(column for column in MODEL_INPUTS if column in self._columns)
        shapes = [self._columns[column] for column in self._inputs]
        size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes)
        if len(self) * size <= memory_bytes:
            self._memory = self.read(range(len(self)), self._inputs)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, rows: np.ndarray, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """Features of some rows, in the order asked for; what a model reads, or the named ones."""
        if self._memory is not None and names is None:
            return {name: column[rows] for name, column in self._memory.items()}
        wanted = {name: self._columns[name] for name in (names or self._inputs)}
        records: list[bytes | None] = [None] * len(rows)
        shard_B = np.searchsorted(self._ends, rows, side="right")
        for shard in np.unique(shard_B).tolist():
            where = np.flatnonzero(shard_B == shard)
            found = self._records(shard, (rows[where] - self._start(shard)).tolist())
            for place, record in zip(where.tolist(), found, strict=True):
                records[place] = record
        batch = codec.decoded(records, wanted)
        codec.require_vocabulary(batch, self._place, rows)
        return batch

    def read(self, rows: range, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
        """Features of a run of rows; all features, or the named ones. Texts come as bytes."""
        wanted = {name: self._columns[name] for name in (names or tuple(self._columns))}
        columns = {
            name: np.empty((len(rows), *shape), object if dtype is str else dtype)
            for name, (shape, dtype) in wanted.items()
        }
        done = 0
        while done < len(rows):
            row = rows.start + done
            shard = int(np.searchsorted(self._ends, row, side="right"))
            start = self._start(shard)
            stop = min(int(self._ends[shard]), rows.stop, row + _READ_AHEAD)
            chunk = codec.decoded(self._records(shard, range(row - start, stop - start)), wanted)
            codec.require_vocabulary(chunk, self._place, range(row, stop))
            for name, column in chunk.items():
                columns[name][done : done + stop - row] = column
            done += stop - row
        return columns

    def _place(self, row: int) -> str:
        """File and record of a row."""
        shard = int(np.searchsorted(self._ends, row, side="right"))
        return f"{self._files[shard]}: record {row - self._start(shard)}"

    def _start(self, shard: int) -> int:
        return int(self._ends[shard - 1]) if shard else 0

    def _records(self, shard: int, places: range | list[int]) -> list[bytes]:
        """Serialized examples of a shard: a run of them, or any."""
        from array_record.python.array_record_module import ArrayRecordReader  # ty: ignore[import-not-found]

        file, expected = self._files[shard], int(self._ends[shard]) - self._start(shard)
        try:
            if shard not in self._readers:
                remote.ensure(file)
                reader = ArrayRecordReader(str(file))
                self._readers[shard] = reader, reader.num_records()
            reader, held = self._readers[shard]
            if held == expected:
                return reader.read(places.start, places.stop) if isinstance(places, range) else reader.read(places)
        except RemoteError:
            raise
        except Exception as error:  # the extension raises bare exceptions of several kinds
            reason = str(error).split("\n")[0][:200]
            raise DatasetError(f"{file}: not a readable shard ({reason}); write the dataset again") from error
        raise DatasetError(f"{file}: holds {held} examples, expected {expected}; write the dataset again")


def read_songs(folder: Path) -> list[dict[str, Any]]:
    """Lines of `songs.jsonl`."""
    try:
        with (folder / SONGS).open() as lines:
            return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder / SONGS}: not readable ({error}); write the dataset again") from error


def rows_of(shard_lengths: list[int], shard: int) -> range:
    """Rows of a split that lie in one shard."""
    start = sum(shard_lengths[:shard])
    return range(start, start + shard_lengths[shard])


def written(folder: Path, name: str, shard_lengths: dict[str, list[int]]) -> Iterator[tuple[str, int, Path, bool]]:
    """Every shard a dataset needs: split, number, file, and whether it is already there."""
    for split, counts in shard_lengths.items():
        for shard in range(len(counts)):
            file = shard_file(folder, name, split, shard, len(counts))
            yield split, shard, file, file.is_file()
