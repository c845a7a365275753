"""Compile times that mean something: a cache of compiled programs that is empty at first."""

import contextlib
import tempfile
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache

_SETTINGS = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def fresh_cache() -> Iterator[None]:
    """Within the block, compiled programs are kept in a folder of its own, which is empty at first.

    The first call of a computation then compiles it; after `jax.clear_caches()` the next one fetches it. The process's
    own settings come back with the end of the block, so whoever measures inside another program changes nothing there.
    """
    with tempfile.TemporaryDirectory(prefix="jaxaccomp-compiled-", ignore_cleanup_errors=True) as folder:
        settings = {**_SETTINGS, "jax_compilation_cache_dir": folder}
        before = {name: getattr(jax.config, name) for name in settings}
        _apply(settings)
        try:
            yield
        finally:
            _apply(before)


def _apply(settings: dict) -> None:
    """JAX decides once in a process whether it keeps compiled programs, and where: hence the reset."""
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    jax.clear_caches()  # programs from before would be neither compiled nor fetched
