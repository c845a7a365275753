"""The machine a benchmark runs on: what it is, and the most it can do.

A figure such as "12 windows a second" says nothing about the program until it stands beside the machine's own limits.
They are measured in the same process as the figures: here the matmul peak of XLA's square matrices, as is the custom,
in `arithmetic` what a CPU's cores do at best, which no program exceeds, and in `bandwidth` how fast weights are read.
"""

import os
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxaccomp
from jaxaccomp import runtime
from jaxaccomp.bench.timing import measure

PEAK_SIZE = {"cpu": 4096, "gpu": 8192, "tpu": 8192}
"""Width of the square matrices of the peak measurement, by backend: large enough that a larger one gains nothing."""


def matmul_gflops(
    dtype: str = "float32", *, size: int | None = None, repeats: int = 5, patience_s: float = 0.0
) -> float:
    """Speed of a square matrix product on one device, in GFLOP/s (2·size³ operations): the fastest of several.

    Args:
        dtype: of the inputs; sums are float32, as everywhere in this project.
        size: width of the matrices; by default the one in PEAK_SIZE.
        repeats: timed products.
        patience_s: see `timing.measure`.
    """
    size = size or PEAK_SIZE.get(jax.default_backend(), 4096)
    left = jax.random.normal(jax.random.key(0), (size, size), dtype)
    right = jax.random.normal(jax.random.key(1), (size, size), dtype)
    multiply = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    timing = measure(lambda: multiply(left, right), repeats=repeats, patience_s=patience_s)
    return 2 * size**3 / timing.fastest_s / 1e9


def cache_bytes() -> int:
    """Size of the last-level cache of this CPU, or 0 where it is unknown."""
    if jax.default_backend() != "cpu":
        return 0
    found = [0]
    for size in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        number, unit = size.read_text().strip()[:-1], size.read_text().strip()[-1]
        if number.isdigit() and unit in "KM":
            found.append(int(number) * {"K": 2**10, "M": 2**20}[unit])
    return max(found)


def peak_memory_bytes() -> int:
    """The most memory in use so far: the device's own count where it keeps one, else this process's."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def describe() -> dict[str, Any]:
    """What the figures were taken on: processor, devices, versions."""
    device = jax.local_devices()[0]
    return {
        "processor": _processor(),
        "cores": runtime.cores(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "processes": jax.process_count(),
        "python": platform.python_version(),
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "jaxaccomp": jaxaccomp.__version__,  # a checkout on PYTHONPATH has no metadata
        "cache_bytes": cache_bytes(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
