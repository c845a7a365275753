"""Writes tensor bundles for tests: any variables, any number of data files, raw or snappy blocks, one or many blocks.

Independent of the reader: its checksum goes bit by bit over a table, its snappy blocks hold literals and copies.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
_TABLE = []
for _octet in range(256):
    _value = _octet
    for _ in range(8):
        _value = _value >> 1 ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE.append(_value)


def checksum(data: bytes) -> int:
    value = 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ _TABLE[(value ^ octet) & 255]
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    value = checksum(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(
    array: np.ndarray,
    shard: int = 0,
    offset: int = 0,
    size: int | None = None,
    dtype: int | None = None,
    crc: int | None = None,
) -> bytes:
    shape = b"".join(field(2, field(1, length)) for length in array.shape)
    message = field(1, TYPES[str(array.dtype)] if dtype is None else dtype) + field(2, shape)
    message += field(3, shard) + field(4, offset) + field(5, array.nbytes if size is None else size)
    return message + varint(6 << 3 | 5) + struct.pack("<I", masked(array.tobytes()) if crc is None else crc)


def block(items: list[tuple[bytes, bytes]], restart_every: int = 16) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(items):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def snappy(data: bytes) -> bytes:
    """Literals, and a copy wherever the last four bytes have been seen before."""
    out, at, start, seen = bytearray(varint(len(data))), 0, 0, {}

    def literal(piece: bytes) -> None:
        for begin in range(0, len(piece), 60):
            head = piece[begin : begin + 60]
            out.extend(bytes([len(head) - 1 << 2]) + head)

    while at < len(data):
        key = data[at : at + 4]
        before = seen.get(key)
        seen[key] = at
        if before is None or len(key) < 4 or at - before > 65535:
            at += 1
            continue
        length = 4
        while length < 64 and at + length < len(data) and data[before + length] == data[at + length]:
            length += 1
        literal(data[start:at])
        offset = at - before
        if length < 12 and offset < 2048:
            out += bytes([1 | length - 4 << 2 | offset >> 8 << 5, offset & 255])
        else:
            out += bytes([2 | length - 1 << 2]) + struct.pack("<H", offset)
        at += length
        start = at
    literal(data[start:])
    return bytes(out)


def index(items: list[tuple[bytes, bytes]], compress: bool = False, per_block: int = 1000) -> bytes:
    out = bytearray()

    def put(content: bytes) -> bytes:
        body, kind = (snappy(content), b"\1") if compress else (content, b"\0")
        handle = varint(len(out)) + varint(len(body))
        out.extend(body + kind + struct.pack("<I", masked(body + kind)))
        return handle

    groups = [items[at : at + per_block] for at in range(0, len(items), per_block)]
    handles = [(group[-1][0] + b"~", put(block(group))) for group in groups]
    footer = put(block([])) + put(block(handles))
    return bytes(out) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def write(
    prefix: Path,
    variables: Mapping[str, np.ndarray],
    shards: int = 1,
    compress: bool = False,
    per_block: int = 1000,
) -> Path:
    """Writes PREFIX.index and its data files; variables go to the shards in turn."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data = [bytearray() for _ in range(shards)]
    items = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for number, name in enumerate(sorted(variables)):
        array, shard = np.ascontiguousarray(variables[name]), number % shards
        items.append((name.encode(), entry(array.reshape(variables[name].shape), shard, len(data[shard]))))
        data[shard] += array.tobytes()
    for shard, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    prefix.with_name(f"{prefix.name}.index").write_bytes(index(items, compress, per_block))
    return prefix
