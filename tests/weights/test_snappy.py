import bundles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.weights.snappy import decompress


@given(st.lists(st.sampled_from([b"encoder/", b"cell_0", b"\0\1\2", b"a", b"kernel/Adam"]), max_size=200))
@settings(max_examples=100, deadline=None)
def test_there_and_back(words):
    data = b"".join(words)
    assert decompress(bundles.snappy(data)) == data


def test_long_literals_far_copies_and_copies_that_overlap_themselves():
    literal = bytes(range(256)) * 2
    assert decompress(b"\x80\x04" + bytes([61 << 2]) + (511).to_bytes(2, "little") + literal) == literal
    assert decompress(b"\x0a" + b"\x00a" + b"\x15\x01") == b"a" * 10
    far = b"\x08" + b"\x0cabcd" + bytes([3 | 3 << 2]) + (4).to_bytes(4, "little")
    assert decompress(far) == b"abcdabcd"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x0f\x00a",  # claims four gigabytes
        b"\x04\x00a",  # too short
        b"\x01\x04ab",  # too long
        b"\x05\x00a\x01\x02",  # a copy from before the start
        b"\x05\x00a\x01\x00",  # a copy from nowhere
        b"\x05\x10abc",  # a literal that ends early
    ],
)
def test_damage_is_a_value_error(block):
    with pytest.raises(ValueError):  # noqa: PT011 — the caller names the file
        decompress(block)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_an_answer_or_a_value_error_of_bounded_size(block):
    try:
        out = decompress(block)
    except ValueError:
        return
    assert len(out) <= 32 * len(block)
