"""Which General MIDI sound font sounds: the one named, else the one that comes with pretty_midi, else the system's."""

import os
from importlib import util
from pathlib import Path

from jaxaccomp.errors import RenderError

VARIABLE = "JAXACCOMP_SOUNDFONT"
"""Environment variable that names a sound font and goes before all others."""

BUNDLED = "TimGM6mb.sf2"
"""What pretty_midi, a dependency of note-seq, brings along. It is used where it lies and never copied."""

FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "~/.local/share/soundfonts",
    "~/Library/Audio/Sounds/Banks",
)
PREFERRED = ("FluidR3_GM.sf2", "GeneralUser-GS.sf2", "default-GM.sf2", "default.sf2", BUNDLED)
"""Files looked for in each folder, the best sounding first; after them, any other `.sf2`."""

_SMALLEST = 12
"""Bytes of the header that every sound font begins with."""


def find(wanted: str | os.PathLike | None = None) -> Path:
    """The sound font to use.

    Args:
        wanted: a `.sf2` file; None: the one `JAXACCOMP_SOUNDFONT` names, else the bundled one, so that the same MIDI
            file sounds the same on every machine, else the best one found in the system's folders.

    Raises:
        RenderError: the one named is no sound font, or none is found.
    """
    named = wanted or os.environ.get(VARIABLE)
    if named:
        return _checked(Path(named).expanduser())
    bundled = _bundled()
    if bundled is not None:
        return bundled
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    for name in PREFERRED:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    for folder in folders:
        others = sorted(folder.glob("*.sf2"))
        if others:
            return others[0]
    raise RenderError(
        "cannot render sound because no General MIDI sound font is found; install pretty_midi 0.2.11, which brings "
        f"one, or name a .sf2 file in {VARIABLE}"
    )


def _bundled() -> Path | None:
    found = util.find_spec("pretty_midi")  # found, not imported: that would load matplotlib's and more
    folders = found.submodule_search_locations if found else None
    paths = [Path(folder) / BUNDLED for folder in folders or ()]
    return next((path for path in paths if path.is_file()), None)


def _checked(font: Path) -> Path:
    try:
        with open(font, "rb") as file:
            head = file.read(_SMALLEST)
    except OSError as error:
        raise RenderError(f"{font}: no such sound font ({error.strerror}); name a General MIDI .sf2 file") from error
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise RenderError(f"{font}: is no sound font; expected a General MIDI .sf2 file, which begins with RIFF…sfbk")
    return font
