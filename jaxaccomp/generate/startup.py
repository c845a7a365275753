"""How a process starts: compiled programs are kept on disk, and a large collection gets a device for each core."""

import contextlib
import os
import sys
from pathlib import Path

VARIABLE = "JAXACCOMP_CACHE"
"""Environment variable: a folder for compiled programs, or `off`."""
VIRTUAL_DEVICES = "xla_force_host_platform_device_count"
"""Name of XLA's flag; where a user has set it, nothing here interferes."""
MANY_SONGS = 200
"""From here on a collection's run makes up for the seconds that more devices take to start."""
_MOST_DEVICES = 8
"""Virtual ones of a CPU; each keeps a copy of the parameters."""


def compilation_cache() -> Path | None:
    """Folder in which compiled programs are kept between runs, or None if they are not.

    `$JAXACCOMP_CACHE` names it; `off` (or an empty value) turns it off. By default it lies in the user's cache folder.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        return None if chosen.lower() in ("", "off", "0") else Path(chosen).expanduser()
    if sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "jaxaccomp" / "compiled"


def use_compilation_cache() -> None:
    """Lets JAX keep compiled programs on disk, unless the caller has already told it where, or not to.

    A folder that cannot be made is no error: programs are then compiled each time.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = compilation_cache()
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # JAX's own 1 s would leave out half of ours
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def use_cores(songs: int, units: int) -> None:
    """Plays a large collection on one virtual device for each core of a CPU, with batches side by side.

    The steps of a narrow model are too short to be shared out among cores: two devices of a thread each decode half as
    much again as one of two threads. A wide model's products use all cores as they are. Notes do not depend on it.
    Without effect where JAX has started already.

    Args:
        songs: of the collection.
        units: of the model's widest layer.
    """
    import jax

    from jaxaccomp.models import lstm

    if songs < MANY_SONGS or units >= lstm.WIDE or VIRTUAL_DEVICES in os.environ.get("XLA_FLAGS", ""):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # JAX has started
        jax.config.update("jax_num_cpu_devices", min(cores, _MOST_DEVICES))
