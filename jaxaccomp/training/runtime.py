"""The process a run lives in: several machines that find each other, and a CPU that is used well."""

import os
import sys

from jaxaccomp.generate.startup import VIRTUAL_DEVICES

HUGE_PAGES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "MALLOC_ARENA_MAX": "1",
}
"""Lets glibc keep freed memory, in huge pages: activations of tens of MB come and go every step.

One arena for all threads, since what the others free goes back to the system whatever the thresholds: 9 % of a step of
the small VAE went into clearing pages."""

MOST_REPLICAS = 8
"""Virtual CPU devices at most; each keeps a copy of the parameters and of the optimiser's state."""


def join_processes() -> None:
    """Connects the processes of one run, when this one was started as part of several.

    That is the case on a TPU pod slice, under SLURM with several tasks, or where JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID tell it.
    """
    import jax

    environment = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environment and "JAX_PROCESS_ID" in environment:
        jax.distributed.initialize(
            environment["JAX_COORDINATOR_ADDRESS"],
            int(environment["JAX_NUM_PROCESSES"]),
            int(environment["JAX_PROCESS_ID"]),
        )
    elif int(environment.get("SLURM_NTASKS", "1")) > 1 or "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        jax.distributed.initialize()


def use_cores(batch_size: int) -> None:
    """On a Linux machine without accelerator, starts this process again as one virtual device for each core.

    Two devices of one thread train faster than one of two threads: the scans of a step are too short to be cut. The
    number of devices and the allocator's settings are read once, when a process starts, hence the new start.
    """
    if sys.platform != "linux" or VIRTUAL_DEVICES in os.environ.get("XLA_FLAGS", ""):
        return
    import jax

    if jax.default_backend() != "cpu":
        return
    cores = min(len(os.sched_getaffinity(0)), MOST_REPLICAS)
    devices = max(count for count in range(1, cores + 1) if batch_size % count == 0)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --{VIRTUAL_DEVICES}={devices}".strip()
    environment = {**HUGE_PAGES, **os.environ, "XLA_FLAGS": flags}
    os.execve(sys.executable, sys.orig_argv, environment)
