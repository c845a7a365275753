"""CRC-32C (Castagnoli) with NumPy alone, hundreds of megabytes a second.

A checksum is a remainder of polynomials over GF(2), so its terms may be summed in any grouping. The bytes are read as
rows of N 32-bit words; N remainders, one for each column, advance row by row and are folded into one at the end.

Source: RFC 3720 §12.1; masking: tensorflow/tsl lib/hash/crc32c.h.
"""

from functools import cache, lru_cache

import numpy as np

_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF
_ONE = 1 << 31
"""The polynomial 1: bits are reflected, the highest is the constant term."""


def crc32c(octets: np.ndarray) -> int:
    """The checksum of a one-dimensional array of bytes."""
    columns = 1 << min(max((len(octets) // 64).bit_length(), 2), 14)
    remainder_N = np.zeros(4 * columns, np.uint8)
    head = len(octets) % (4 * columns)
    remainder_N[4 * columns - head :] = octets[:head]  # zeros in front change nothing
    remainder_N = remainder_N.view("<u4")
    row = _times_x(32 * columns)
    for words_N in octets[head:].reshape(-1, 4 * columns):
        remainder_N = row(remainder_N)
        remainder_N ^= words_N.view("<u4")
    bits = 32
    while len(remainder_N) > 1:
        remainder_N = _times_x(bits)(remainder_N[0::2]) ^ remainder_N[1::2]
        bits *= 2
    total = int(_times_x(32)(remainder_N)[0])
    return total ^ _multiply(_ONES, _power(8 * len(octets))) ^ _ONES


def unmask(stored: int) -> int:
    """The checksum behind a stored one; TensorFlow masks those that lie among the data they check."""
    rotated = (stored - 0xA282EAD8) & _ONES
    return (rotated >> 17) | (rotated << 15) & _ONES


def _multiply(a: int, b: int) -> int:
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@cache
def _power(exponent: int) -> int:
    """The polynomial x to the exponent."""
    if exponent < 2:
        return _ONE >> exponent
    half = _power(exponent // 2)
    square = _multiply(half, half)
    return _multiply(square, _ONE >> 1) if exponent % 2 else square


@lru_cache(maxsize=64)
def _times_x(bits: int):
    """A function that multiplies an array of remainders by x to the `bits`."""
    factor = _power(bits)
    low, high = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    for bit in range(16):
        low = np.concatenate([low, low ^ np.uint32(_multiply(1 << bit, factor))])
        high = np.concatenate([high, high ^ np.uint32(_multiply(1 << bit + 16, factor))])

    def apply(remainders: np.ndarray) -> np.ndarray:
        halves = np.ascontiguousarray(remainders).view("<u2")
        return low[halves[0::2]] ^ high[halves[1::2]]

    return apply
