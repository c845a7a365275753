import bundles
import numpy as np
import pytest

from jaxaccomp.weights.crc32c import crc32c, unmask


def octets(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720 B.4, and the customary check value
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_known_values(data, expected):
    assert crc32c(octets(data)) == expected


def test_equals_the_definition_at_every_small_length_and_around_row_widths():
    data = np.random.default_rng(0).integers(0, 256, 70_000, np.uint8)
    for size in (*range(80), 255, 256, 257, 4095, 4096, 4097, 65_535, 65_536, 70_000):
        assert crc32c(data[:size]) == bundles.checksum(data[:size].tobytes()), size


def test_any_flipped_bit_changes_it():
    data = np.random.default_rng(1).integers(0, 256, 5_000, np.uint8)
    whole = crc32c(data)
    for at in range(0, 5_000, 97):
        changed = data.copy()
        changed[at] ^= 1 << at % 8
        assert crc32c(changed) != whole


def test_unmask_is_the_inverse_of_masking():
    assert unmask(bundles.masked(b"123456789")) == 0xE3069283
