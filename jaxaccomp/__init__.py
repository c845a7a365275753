"""Bass and drums for any melody: MusicVAE's trio model and a surrogate encoder in JAX/Flax.

    import jaxaccomp
    band = jaxaccomp.load()
    take = band.accompany("song.mid")[0]
    take.score.write("song-with-band.mid")

Importing this package loads no JAX; its names are found when they are first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "load": "jaxaccomp.generate.accompanist",
    "Accompanist": "jaxaccomp.generate.accompanist",
    "Accompaniment": "jaxaccomp.generate.take",
    "Score": "jaxaccomp.music.midi",
    "PRESETS": "jaxaccomp.config",
    "JaxAccompError": "jaxaccomp.errors",
}

__all__ = [*_HOMES, "__version__"]


_MODULES = ("arrays", "config", "demos", "errors")


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxaccomp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return sorted([*__all__, *_MODULES])
