"""Decompression of snappy blocks, in plain Python: fast enough for the kilobytes of an index.

Source: google/snappy format_description.txt.
"""

_MOST_PER_BYTE = 32
"""No element yields more than 64 bytes from 3, so no honest block claims more than this for each of its bytes."""


def decompress(block: bytes) -> bytes:
    """The bytes of one raw snappy block.

    Raises:
        ValueError: the block is damaged, or claims to be larger than it can be.
    """
    size, at = _varint(block)
    if size > _MOST_PER_BYTE * len(block):
        raise ValueError(f"{len(block)} bytes cannot hold the {size} claimed")
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        if tag & 3 == 0:
            length = (tag >> 2) + 1
            if length > 60:
                width = length - 60
                length = int.from_bytes(_slice(block, at, width), "little") + 1
                at += width
            out += _slice(block, at, length)
            at += length
        else:
            width = (0, 1, 2, 4)[tag & 3]
            offset = int.from_bytes(_slice(block, at, width), "little")
            at += width
            if width == 1:
                length, offset = (tag >> 2 & 7) + 4, offset | tag >> 5 << 8
            else:
                length = (tag >> 2) + 1
            if not 0 < offset <= len(out):
                raise ValueError(f"a copy reaches {offset} bytes back, {len(out)} are there")
            start = len(out) - offset
            while length > 0:  # a copy may overlap itself: it then repeats
                piece = out[start : start + length]
                out += piece
                length -= len(piece)
        if len(out) > size:
            raise ValueError(f"more than the {size} bytes claimed")
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes instead of the {size} claimed")
    return bytes(out)


def _varint(block: bytes) -> tuple[int, int]:
    value = 0
    for at, byte in enumerate(block[:5]):
        value |= (byte & 127) << 7 * at
        if byte < 128:
            return value, at + 1
    raise ValueError("no length")


def _slice(block: bytes, at: int, length: int) -> bytes:
    piece = block[at : at + length]
    if len(piece) != length:
        raise ValueError("ends early")
    return piece
