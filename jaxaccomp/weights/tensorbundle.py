"""Reads TensorFlow V2 checkpoints ("tensor bundles") with NumPy alone.

    NAME.index                     a sorted table: variable name → type, shape, shard, offset, size, checksum
    NAME.data-00000-of-00001 …     the variables' bytes

The files are memory-mapped, also inside an uncompressed `.tar`. Nothing in them is trusted: every length is compared
with what is there before anything is read or allocated, and every block and variable with its checksum.

Source: tensorflow/core/util/tensor_bundle, tsl/lib/io/format.h @2.15 (the table is LevelDB's).
"""

import math
import mmap
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxaccomp.errors import TensorBundleError
from jaxaccomp.weights import snappy
from jaxaccomp.weights.crc32c import crc32c, unmask

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_LONGEST_NAME = 4096
_FILE = re.compile(r"(.+)\.(?:index|data-\d{5}-of-\d{5})")
_AGAIN = "download or copy the checkpoint again"

_TYPES = "1 <f4, 2 <f8, 3 <i4, 4 u1, 5 <i2, 6 i1, 9 <i8, 10 ?, 17 <u2, 19 <f2, 22 <u4, 23 <u8"
DTYPES = {int(number): np.dtype(name) for number, name in (pair.split() for pair in _TYPES.split(", "))}
"""Types by their number in tensorflow.DataType, as far as NumPy has them."""


@dataclass(frozen=True)
class Entry:
    """Where a variable lies.

    Attributes:
        shape: its sizes.
        dtype: its type; None if NumPy has no such type.
        shard: number of its data file.
        offset: of its first byte in that file.
        size: in bytes.
        checksum: masked CRC-32C of its bytes.
        sliced: whether it is stored in pieces under other names.
    """

    shape: tuple[int, ...]
    dtype: np.dtype | None
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Region(NamedTuple):
    """A run of bytes in a file: the whole of it, or a member of a tar archive."""

    file: Path
    offset: int
    size: int

    def octets(self, offset: int, size: int) -> np.ndarray:
        """Maps part of the region; the mapping goes when the array goes."""
        if size == 0:
            return np.zeros(0, np.uint8)
        start = self.offset + offset
        skipped = start % mmap.ALLOCATIONGRANULARITY
        with self.file.open("rb") as file:
            pages = mmap.mmap(file.fileno(), size + skipped, offset=start - skipped, access=mmap.ACCESS_READ)
        return np.frombuffer(pages, np.uint8, size, skipped)


class Bundle:
    """An open checkpoint.

    Attributes:
        name: what errors call it.
        entries: its variables by name.
    """

    def __init__(self, path: str | PathLike):
        """Finds a checkpoint and reads its index.

        Args:
            path: a tar archive, a folder, a prefix, or one of the checkpoint's own files. In a folder with several
                checkpoints, its file `checkpoint` tells which one is meant; of a tar archive, the first counts.

        Raises:
            TensorBundleError: there is none, there are several, or its index is damaged.
        """
        try:
            self.name, self._files = find(Path(path))
            index = self._files[".index"]
            octets = index.octets(0, index.size).tobytes()
        except OSError as error:
            raise TensorBundleError(f"{path}: cannot be read ({error}); check the path and its permissions") from error
        try:
            self._shards, self.entries = parse_index(octets)
        except ValueError as error:
            raise TensorBundleError(f"{self.name}.index: is damaged ({error}); {_AGAIN}") from error

    @property
    def files(self) -> list[Path]:
        """The files on disk that hold it: its own, or the archive."""
        return sorted({region.file for region in self._files.values()})

    def read(self, variable: str) -> np.ndarray:
        """A copy of a variable's values.

        Raises:
            TensorBundleError: there is no such variable, or its bytes are not what the index says.
        """
        if variable not in self.entries:
            raise TensorBundleError(f"{self.name}: has no variable {variable}, only {', '.join(self.entries)}")
        entry, where = self.entries[variable], f"{self.name}: {variable}"
        if entry.dtype is None or entry.sliced:
            what = "is stored in slices" if entry.sliced else "is of a type that NumPy does not have"
            raise TensorBundleError(f"{where} {what}; save it again as one plain array")
        expected = entry.dtype.itemsize * math.prod(entry.shape)
        if entry.size != expected:
            raise TensorBundleError(
                f"{where}: {list(entry.shape)} of {entry.dtype} takes {expected} bytes, the index says {entry.size}; "
                f"{_AGAIN}"
            )
        suffix = f".data-{entry.shard:05d}-of-{self._shards:05d}"
        if entry.shard >= self._shards or suffix not in self._files:
            raise TensorBundleError(f"{where} lies in {self.name}{suffix}, which is not there; put it beside the index")
        region = self._files[suffix]
        if entry.offset + entry.size > region.size:
            raise TensorBundleError(
                f"{where} ends at byte {entry.offset + entry.size} of {self.name}{suffix}, which has {region.size}; "
                f"{_AGAIN}"
            )
        try:
            values = region.octets(entry.offset, entry.size).copy()
        except OSError as error:
            raise TensorBundleError(f"{self.name}{suffix}: cannot be read ({error}); {_AGAIN}") from error
        if unmask(entry.checksum) != crc32c(values):
            raise TensorBundleError(f"{where}: the bytes do not match their checksum; {_AGAIN}")
        return values.view(entry.dtype).reshape(entry.shape)


def find(path: Path) -> tuple[str, dict[str, Region]]:
    """The files of the checkpoint meant by `path`.

    Returns:
        Its prefix, and its files by what follows the prefix, e.g. `.index`.

    Raises:
        TensorBundleError: there is no checkpoint, or it is unclear which one is meant.
    """
    folder = path
    if path.is_file() and not _FILE.fullmatch(path.name):
        files = _archived(path)
        prefixes = [name.removesuffix(".index") for name in files if name.endswith(".index")][:1]
    elif path.is_dir():
        files = _beside(path)
        prefixes = [name.removesuffix(".index") for name in files if name.endswith(".index")]
        if (latest := _latest(path)) in prefixes:
            prefixes = [latest]
    else:
        match = _FILE.fullmatch(path.name)
        files = _beside(path.parent) if path.parent.is_dir() else {}
        prefixes = [match[1] if match else path.name]
        folder = path.parent
    if len(prefixes) > 1:
        raise TensorBundleError(f"{path}: holds several checkpoints, {', '.join(sorted(prefixes))}; give one's prefix")
    if not prefixes or f"{prefixes[0]}.index" not in files:
        wanted = f"{prefixes[0]}.index" if prefixes else "*.index"
        raise TensorBundleError(
            f"{path}: holds no TensorFlow checkpoint ({wanted} is not there); give a .tar archive, a folder or a prefix"
        )
    prefix = prefixes[0]
    return f"{folder}/{prefix}", {
        name.removeprefix(prefix): region for name, region in files.items() if name.startswith(f"{prefix}.")
    }


def _beside(folder: Path) -> dict[str, Region]:
    return {file.name: Region(file, 0, file.stat().st_size) for file in folder.iterdir() if _FILE.fullmatch(file.name)}


def _archived(path: Path) -> dict[str, Region]:
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            return {
                member.name: Region(path, member.offset_data, min(member.size, max(size - member.offset_data, 0)))
                for member in archive
                if member.isreg() and not member.issparse() and not Path(member.name).name.startswith("._")
            }
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise TensorBundleError(
            f"{path}: is no plain tar archive ({error}); unpack it and give the folder, or download it again"
        ) from error


def _latest(folder: Path) -> str | None:
    """The checkpoint that a training run wrote last, by its own account."""
    try:
        text = (folder / "checkpoint").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    match = re.search(r'^model_checkpoint_path:\s*"(.+)"', text, re.MULTILINE)
    return Path(match[1]).name if match else None


def parse_index(octets: bytes) -> tuple[int, dict[str, Entry]]:
    """Reads an index file.

    Returns:
        The number of data files, and the variables by name.

    Raises:
        ValueError: the bytes are damaged.
    """
    if len(octets) < _FOOTER_BYTES:
        raise ValueError(f"{len(octets)} bytes, an index has at least {_FOOTER_BYTES}")
    footer = octets[-_FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("it does not end as an index does")
    at = 0
    for _ in range(3):  # the place of the metaindex, which says nothing here, then that of the index block
        value, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    found: dict[bytes, bytes] = {}
    last = None
    for _, handle in _items(_block(octets, value, size)):
        offset, at = _varint(handle, 0)
        size, _ = _varint(handle, at)
        for key, content in _items(_block(octets, offset, size)):
            if last is not None and key <= last:
                raise ValueError(f"the names {last!r} and {key!r} are out of order")
            found[key] = content
            last = key
    if b"" not in found:
        raise ValueError("it has no header")
    shards = _parse_header(found.pop(b""))
    return shards, {key.decode(): _parse_entry(content) for key, content in found.items()}


def _block(octets: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(octets) - _FOOTER_BYTES:
        raise ValueError(f"a block ends at byte {end}, beyond the end")
    body, checksum = octets[offset : end + 1], int.from_bytes(octets[end + 1 : end + _TRAILER_BYTES], "little")
    if crc32c(np.frombuffer(body, np.uint8)) != unmask(checksum):
        raise ValueError(f"the block at byte {offset} does not match its checksum")
    if body[-1] > 1:
        raise ValueError(f"a block is compressed in the unknown way {body[-1]}")
    return snappy.decompress(body[:-1]) if body[-1] == 1 else body[:-1]


def _items(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key is told as what it shares with the one before, and the rest."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes cannot have {restarts} restarts")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + fresh + size > end or shared + fresh > _LONGEST_NAME:
            raise ValueError("a name or an entry is longer than its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + size]
        at += fresh + size


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(octets):
            raise ValueError("a number is cut short")
        value |= (octets[at] & 127) << shift
        at += 1
        if octets[at - 1] < 128:
            return value, at
    raise ValueError("a number has more than 64 bits")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protocol buffer message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind in (1, 2, 5):
            size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            value = message[at : at + size] if kind == 2 else int.from_bytes(message[at : at + size], "little")
            at += size
        else:
            raise ValueError(f"a field is of the unknown kind {kind}")
        yield tag >> 3, value


def _number(value: int | bytes) -> int:
    if not isinstance(value, int) or value >= 1 << 63:
        raise ValueError("a field is not a non-negative number")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is not a message")
    return value


def _parse_header(message: bytes) -> int:
    shards = 0
    for field, value in _fields(message):
        if field == 1:
            shards = _number(value)
        elif field == 2 and value != 0:
            raise ValueError("its numbers are big-endian, only little-endian ones can be read")
        elif field == 3:
            needed = dict(_fields(_message(value))).get(2, 0)
            if needed != 0 and needed != 1:
                raise ValueError(f"it needs a reader of format version {needed}, this one reads version 1")
    if shards < 1:
        raise ValueError("it has no data files")
    return shards


def _parse_entry(message: bytes) -> Entry:
    shape: tuple[int, ...] = ()
    dtype = shard = offset = size = checksum = 0
    sliced = False
    for field, value in _fields(message):
        if field == 2:
            dimensions = [_message(item) for number, item in _fields(_message(value)) if number == 2]
            shape = tuple(_number(dict(_fields(item)).get(1, 0)) for item in dimensions)
        elif field == 7:
            sliced = True
        elif field == 1:
            dtype = _number(value)
        elif field == 3:
            shard = _number(value)
        elif field == 4:
            offset = _number(value)
        elif field == 5:
            size = _number(value)
        elif field == 6:
            checksum = _number(value)
    return Entry(shape, DTYPES.get(dtype), shard, offset, size, checksum, sliced)
