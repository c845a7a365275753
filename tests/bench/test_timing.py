"""Timings: what is counted, what is left out, and when it stops."""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxaccomp.bench import machine
from jaxaccomp.bench.timing import Timing, measure


def test_the_first_call_and_the_warm_up_are_left_out():
    calls = []

    def compute():
        calls.append(None)
        time.sleep(0.2 if len(calls) <= 2 else 0.01)
        return jnp.zeros(1)

    timing = measure(compute, repeats=4, warm_up=1)
    assert len(calls) == 1 + 1 + 4
    assert timing.first_s >= 0.2
    assert len(timing.seconds) == 4
    assert 0.01 <= timing.median_s < 0.2
    assert timing.compile_s == pytest.approx(timing.first_s - timing.median_s)


def test_slow_things_are_repeated_only_as_often_as_time_allows():
    timing = measure(lambda: time.sleep(0.05), repeats=50, warm_up=0, limit_s=0.1, least=3)
    assert len(timing.seconds) == 3


def test_it_waits_for_the_device():
    large = jax.random.normal(jax.random.key(0), (1500, 1500))
    multiply = jax.jit(lambda x: x @ x @ x @ x)
    timing = measure(lambda: multiply(large), repeats=3)
    start = time.perf_counter()
    multiply(large).block_until_ready()
    assert timing.median_s > 0.2 * (time.perf_counter() - start)


def test_median_and_spread():
    timing = Timing(5.0, (1.0, 2.0, 9.0))
    assert timing.median_s == 2.0
    assert timing.spread == 4.0
    assert timing.compile_s == 3.0
    assert Timing(1.0, (2.0,)).compile_s == 0.0


def test_the_machine_has_a_name_and_limits():
    about = machine.describe()
    assert about["backend"] == "cpu"
    assert about["cores"] >= 1
    assert about["processor"]
    assert about["jax"] == jax.__version__
    assert machine.matmul_gflops(size=256, repeats=3) > 0.1
    assert machine.copy_gb_per_s(size_bytes=2**22, repeats=3) > 0.01
    assert machine.peak_memory_bytes() > 2**26  # this process holds JAX, after all
