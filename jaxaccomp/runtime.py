"""How a process starts: compiled programs are kept on disk, cores become devices, processes of a pod join.

What is read once, when JAX or a process starts, is settled here, and nowhere else.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator

from jaxaccomp import cluster, files

VIRTUAL_DEVICES = "xla_force_host_platform_device_count"
"""Name of XLA's flag; where a user has set it, nothing here interferes."""
PRNG = "threefry2x32"
"""Implementation of all random numbers; named with every key, so that JAX's ambient setting changes no note."""
MOST_DEVICES = 8
"""Virtual ones of a CPU; each keeps a copy of the parameters, and of the optimizer's state where there is one."""
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


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Numbers as this program means them, whatever JAX's ambient settings are; those are the caller's again afterwards.

    They hold for the thread that enters.
    """
    import jax

    with (
        jax.enable_x64(False),
        jax.default_prng_impl(PRNG),
        jax.threefry_partitionable(True),
        jax.default_matmul_precision(None),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


def use_compilation_cache() -> None:
    """Lets JAX keep compiled programs on disk, unless the caller has already told it where, or not to.

    A folder that cannot be made is no error: programs are then compiled each time.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is not None:  # ty: ignore[missing-attribute]
        return
    try:
        folder = files.compilation_cache()
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX's own 1 s would leave out half of ours; a song takes 15 small programs of 20 to 60 ms, too.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.01)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def join_processes() -> None:
    """Connects this process with the others of its run, if it was started as one of several; see `cluster.join`.

    Raises:
        ClusterError: the environment names other processes, but they cannot be reached.
    """
    cluster.join()


def use_device_for_each_core() -> None:
    """Makes a virtual device of each core of a CPU.

    Without effect where JAX has started already, or XLA's flags name a number.
    """
    import jax

    if VIRTUAL_DEVICES in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # JAX has started
        jax.config.update("jax_num_cpu_devices", min(cores(), MOST_DEVICES))


def restart_with_device_for_each_core(batch_size: int) -> None:
    """On a Linux machine without accelerator, starts this process again as one virtual device for each core.

    Two devices of one thread train faster than one of two threads: the scans of a step are too short to be cut. The
    number of devices and the allocator's settings are read once, when a process starts, hence the new start.

    Args:
        batch_size: is shared out equally, so the number of devices divides it.
    """
    if sys.platform != "linux" or VIRTUAL_DEVICES in os.environ.get("XLA_FLAGS", "") or cluster.size() > 1:
        return
    import jax

    if jax.default_backend() != "cpu":
        return
    devices = max(count for count in range(1, min(cores(), MOST_DEVICES) + 1) if batch_size % count == 0)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --{VIRTUAL_DEVICES}={devices}".strip()
    environment = {**HUGE_PAGES, **os.environ, "XLA_FLAGS": flags}
    os.execve(sys.executable, sys.orig_argv, environment)


def sentence(error: BaseException) -> str | None:
    """What to tell a user of an exception of JAX's or the system's that is no fault of this program; None if it may be.

    Args:
        error: whatever came out of a verb.
    """
    said = str(error).strip()
    line = (said.splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    if (gone := cluster.broken(error)) is not None:
        return str(gone)
    chosen = os.environ.get("JAX_PLATFORMS", "")
    # Where a platform's plugin is missing altogether, JAX says so by an assertion.
    missing = bool(chosen) and isinstance(error, AssertionError) and "xla_bridge" in _raised_in(error)
    if missing or "Unable to initialize backend" in said or "Unknown backend" in said:
        return (
            f"JAX_PLATFORMS={chosen}: JAX cannot use that here ({line}); install what it needs, e.g. pip install "
            "'jaxaccomp[cuda]', or unset JAX_PLATFORMS"
        )
    if "RESOURCE_EXHAUSTED" in said or isinstance(error, MemoryError):
        return (
            f"out of memory or disk ({line}); try a smaller --batch-size or a larger --accumulation, or free some space"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.filename or 'a file'}: cannot be written ({error.strerror}); free some space and run it again"
    if isinstance(error, RuntimeError) and "home directory" in said:
        return f"this user has no home folder ({line}); set HOME or XDG_CACHE_HOME to a folder that can be written"
    return None


def _raised_in(error: BaseException) -> str:
    """File of the code that raised an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
