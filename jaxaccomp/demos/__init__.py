"""Demo tunes that ship: our own settings of public-domain melodies, as MIDI files beside this module.

`python -m jaxaccomp.demos` writes the files anew from their source, `tunes.py`.
"""

from pathlib import Path

from jaxaccomp.errors import UsageError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The demo tunes there are."""
    return sorted(path.stem for path in FOLDER.glob("*.mid"))


def path(name: str) -> Path:
    """The MIDI file of a demo tune.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in names():
        raise UsageError(f"there is no demo tune {name!r}; there are {', '.join(names())}")
    return FOLDER / f"{name}.mid"
