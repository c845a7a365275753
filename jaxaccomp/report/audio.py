"""MIDI → sound, by FluidSynth and a General MIDI sound font, both found on this machine.

Neither is a dependency: only `--audio` needs them, and a sentence says how to get the one that is missing.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from jaxaccomp.errors import RenderError

SOUND_FONT_VARIABLE = "JAXACCOMP_SOUNDFONT"
"""Environment variable that names a sound font and goes before all others."""

SOUND_FONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "~/.local/share/soundfonts",
    "~/Library/Audio/Sounds/Banks",
)
SOUND_FONTS = ("FluidR3_GM.sf2", "GeneralUser-GS.sf2", "default-GM.sf2", "default.sf2", "TimGM6mb.sf2")
"""Files looked for in each folder, the best sounding first; after them, any other `.sf2` or `.sf3`."""

FILE_TYPES = {".wav": "wav", ".ogg": "oga", ".flac": "flac"}
"""What can be written, and what FluidSynth calls it."""

SMALLEST_FILE = 1000
"""Bytes below which a sound file holds a header and nothing else: FluidSynth reports some failures by nothing more."""

INSTALL = (
    "on Debian or Ubuntu: apt-get install fluidsynth timgm6mb-soundfont; on macOS: brew install fluid-synth, "
    f"and put a General MIDI sound font (.sf2) into ~/.local/share/soundfonts or name it in {SOUND_FONT_VARIABLE}"
)


def render(
    midi: str | os.PathLike,
    out: str | os.PathLike,
    *,
    sound_font: str | os.PathLike | None = None,
    sample_rate: int = 44100,
    gain: float = 0.6,
    timeout_s: float = 600.0,
) -> Path:
    """Renders a MIDI file to sound.

    The sound appears under its name only when it is complete.

    Args:
        midi: the MIDI file.
        out: where to write; its ending, `.wav`, `.ogg` or `.flac`, decides the format.
        sound_font: a `.sf2` or `.sf3` file; by default the best one found (see `find_sound_font`).
        sample_rate: in hertz.
        gain: loudness, from 0 to 10.
        timeout_s: how long FluidSynth may take.

    Returns:
        The path written.

    Raises:
        RenderError: FluidSynth or a sound font is missing, the ending is unknown, or FluidSynth fails.
    """
    midi, out = Path(midi), Path(out)
    file_type = FILE_TYPES.get(out.suffix.lower())
    if file_type is None:
        raise RenderError(
            f"{out}: sound is written as {', '.join(FILE_TYPES)}, not {out.suffix or 'without an ending'}"
        )
    if not midi.is_file():
        raise RenderError(f"{midi}: no such MIDI file to render")
    program = shutil.which("fluidsynth")
    if program is None:
        raise RenderError(f"{out}: cannot render sound because the program fluidsynth is not installed; {INSTALL}")
    font = find_sound_font(sound_font)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
            unfinished = Path(folder, f"sound{out.suffix.lower()}")
            command = [program, "-ni", "-q", "-g", str(gain), "-r", str(sample_rate), "-T", file_type]
            command += ["-F", str(unfinished), str(font), str(midi)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s)
            if done.returncode != 0 or not unfinished.exists() or unfinished.stat().st_size < SMALLEST_FILE:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise RenderError(f"{out}: fluidsynth failed on {midi} ({said[-1] if said else 'without a word'})")
            unfinished.replace(out)
    except subprocess.TimeoutExpired as error:
        raise RenderError(f"{out}: fluidsynth took longer than {timeout_s:g} s on {midi} and was stopped") from error
    except OSError as error:
        raise RenderError(f"{out}: cannot write there ({error.strerror})") from error
    return out


def find_sound_font(wanted: str | os.PathLike | None = None) -> Path:
    """The sound font to use: the one asked for, else the environment's, else the best one installed.

    Raises:
        RenderError: the one named is not there, or none is found.
    """
    named = wanted or os.environ.get(SOUND_FONT_VARIABLE)
    if named:
        font = Path(named).expanduser()
        if not font.is_file():
            raise RenderError(f"{font}: no such sound font; name a General MIDI .sf2 or .sf3 file")
        return font
    folders = [Path(folder).expanduser() for folder in SOUND_FONT_FOLDERS]
    for name in SOUND_FONTS:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    for folder in folders:
        others = sorted(path for ending in ("*.sf2", "*.sf3") for path in folder.glob(ending))
        if others:
            return others[0]
    raise RenderError(f"cannot render sound because no General MIDI sound font is installed; {INSTALL}")
