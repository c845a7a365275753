"""What makes the second start faster than the first: compiled programs are kept on disk."""

import os
import sys
from pathlib import Path

VARIABLE = "JAXACCOMP_CACHE"
"""Environment variable: a folder for compiled programs, or `off`."""


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
