import numpy as np

from jaxaccomp.bench import bandwidth


def test_every_value_is_read_in_every_pass():
    expected = sum(range(10, 15)) + (0 + 11 + 12 + 13 + 14) + (1 + 11 + 12 + 13 + 14)
    assert bandwidth._sum(np.arange(10, 15), 3) == expected
    assert bandwidth._compiled()(np.arange(10, 15), 3) == expected


def test_reading_has_a_rate():
    assert bandwidth.memory_gb_per_s(size_bytes=2**22, repeats=3) > 0.01
    assert bandwidth.cache_gb_per_s(repeats=1) > 0.01
