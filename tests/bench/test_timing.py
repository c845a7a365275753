"""Timings: what is counted, what is left out, and when it stops."""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxaccomp.bench import machine, timing
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


@pytest.fixture
def clock(monkeypatch):
    """Two CPUs, of which other processes take as much as `clock["others"]` says."""
    state = {"now": 0.0, "own": 0.0, "busy": 0.0, "others": [], "calls": 0}

    def call():
        share = state["others"][min(state["calls"], len(state["others"]) - 1)]
        seconds = 1 / (1 - share)
        state["calls"] += 1
        state["now"] += seconds
        state["own"] += 2.0
        state["busy"] += 2.0 + 2 * share * seconds

    state["call"] = call
    monkeypatch.setattr(timing.time, "perf_counter", lambda: state["now"])
    monkeypatch.setattr(timing, "_cpu_seconds", lambda: (state["own"], state["busy"], 2 * state["now"]))
    return state


def test_disturbed_calls_are_repeated_while_patience_lasts(clock):
    clock["others"] = [0.0, 0.5, 0.0, 0.2, 0.01, 0.5, 0.0, 0.0]
    found = measure(clock["call"], repeats=3, warm_up=0, patience_s=100.0)
    assert clock["calls"] == 7
    assert found.seconds == pytest.approx([1.0, 1.0, 1 / 0.99])
    assert found.others == pytest.approx(0.01 / 3)


def test_after_that_the_least_disturbed_calls_count(clock):
    clock["others"] = [0.0, 0.5, 0.2, 0.0, 0.9, 0.0]
    found = measure(clock["call"], repeats=3, warm_up=0, patience_s=10.0)
    assert clock["calls"] == 5
    assert found.seconds == pytest.approx([1.0, 1 / 0.8, 2.0])
    assert found.others == pytest.approx(0.7 / 3)


def test_without_patience_all_calls_count(clock):
    clock["others"] = [0.0, 0.5, 0.2, 0.0]
    found = measure(clock["call"], repeats=3, warm_up=0)
    assert (clock["calls"], sorted(found.seconds)) == (4, pytest.approx([1.0, 1 / 0.8, 2.0]))
    assert found.others == pytest.approx(0.7 / 3)


def test_the_kernels_count_tells_this_process_from_others():
    own, busy, total = timing._cpu_seconds()
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    own, busy, total = (now - then for now, then in zip(timing._cpu_seconds(), (own, busy, total), strict=True))
    assert 0.3 <= own < 1.0
    if total:  # elsewhere than on Linux nothing is known
        assert own - 0.05 <= busy <= total + 0.05


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
    assert machine.peak_memory_bytes() > 2**26  # this process holds JAX, after all
