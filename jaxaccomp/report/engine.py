"""Programs that turn MIDI into sound: midirenderer, which pip installs, and FluidSynth where it is installed."""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from jaxaccomp.config import require
from jaxaccomp.errors import RenderError

SAMPLE_RATE = 48_000
"""Hertz; midirenderer knows no other."""

Name = Literal["auto", "midirenderer", "fluidsynth"]
Sound = Float[np.ndarray, "frames channels"]
Engine = Callable[[bytes, Path], Sound]
"""(a MIDI file's bytes, a sound font) → samples, 1.0 being full scale."""

_TIMEOUT_S = 600.0
_FLUIDSYNTH_GAIN = "0.2"  # its own default; far from clipping

INSTALL = (
    "pip install midirenderer, or where there is no wheel of it, on Debian or Ubuntu: apt-get install fluidsynth; "
    "on macOS: brew install fluid-synth"
)


def find(name: Name = "auto") -> Engine:
    """The engine to use; `auto` takes midirenderer if it is installed, else FluidSynth.

    Raises:
        RenderError: it is not installed.
    """
    require(name in get_args(Name), f"engine must be {', '.join(get_args(Name))}, got {name!r}")
    if name in ("auto", "midirenderer") and util.find_spec("midirenderer"):
        return _midirenderer
    if name in ("auto", "fluidsynth") and shutil.which("fluidsynth"):
        return _fluidsynth
    raise RenderError(
        f"cannot render sound because {'no synthesizer' if name == 'auto' else name} is installed; {INSTALL}"
    )


def _midirenderer(data: bytes, font: Path) -> Sound:
    import midirenderer
    import soundfile

    try:
        wave = midirenderer.render_wave_from(_font_bytes(font, font.stat().st_mtime_ns), data)
    except (RuntimeError, ValueError, OSError) as error:
        raise RenderError(f"midirenderer failed with the sound font {font} ({error})") from error
    samples, _ = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    return samples


def _fluidsynth(data: bytes, font: Path) -> Sound:
    import soundfile

    with tempfile.TemporaryDirectory(prefix="jaxaccomp-sound-") as folder:
        midi, wave = Path(folder, "song.mid"), Path(folder, "song.wav")
        midi.write_bytes(data)
        command = ["fluidsynth", "-ni", "-q", "-g", _FLUIDSYNTH_GAIN, "-r", str(SAMPLE_RATE)]
        command += ["-T", "wav", "-O", "float", "-F", str(wave), str(font), str(midi)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise RenderError(f"fluidsynth took longer than {_TIMEOUT_S:g} s and was stopped") from error
        said = (done.stderr or done.stdout).strip().splitlines()
        try:
            if done.returncode:
                raise OSError
            samples, _ = soundfile.read(wave, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
            raise RenderError(f"fluidsynth failed ({said[-1] if said else 'without a word'})") from error
    return samples


@lru_cache(maxsize=1)
def _font_bytes(font: Path, changed_ns: int) -> bytes:
    return font.read_bytes()
