"""Draws the piano rolls of the demo melodies anew: `python docs/rolls.py`.

Each is played by the default model, take 1 of seed 0: above with `--fast` (one draw, nothing guided or chosen), below
by default. Nothing is chosen by hand. The pictures are stored in few colors, so that they are small.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import jaxaccomp
from jaxaccomp import demos
from jaxaccomp.generate import options
from jaxaccomp.report import pianoroll

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "images" / "rolls"
BARS_PER_SYSTEM = 32
_DPI, _COLORS = 70, 24


def main() -> None:
    """Writes a picture for each demo, one line each."""
    band = jaxaccomp.load()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in demos.names():
        song = demos.path(name)
        (before,), (after,) = band.accompany(song, **options.fast()), band.accompany(song)
        picture = pianoroll.figure(
            after.score,
            original=before.score,
            title=name,
            bars_per_system=BARS_PER_SYSTEM,
            names=("--fast", "default"),
        )
        path = FOLDER / f"{name}.png"
        path.write_bytes(small(picture))
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def small(picture: "Figure") -> bytes:
    """A figure as PNG in few colors."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    picture.savefig(drawn, dpi=_DPI, format="png")
    Image.open(drawn).convert("RGB").quantize(_COLORS).save(packed, "PNG", optimize=True)
    return packed.getvalue()


if __name__ == "__main__":
    main()
