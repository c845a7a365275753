"""Sound → short MP3s in base64, as a page embeds them: a long song is decoded piece by piece, as it is heard."""

import base64
import io
from typing import NamedTuple

import numpy as np

from jaxaccomp.report.engine import SAMPLE_RATE, Sound

SEGMENT_S = 15.0
LEAD_S = 0.1
"""How much of its neighbours each segment holds on either side: an encoder needs a while to settle."""


class Quality(NamedTuple):
    """How an MP3 is made."""

    rate: int
    """Hertz."""
    compression: float
    """0 is the largest and best MP3, 1 the smallest."""


GOOD, SMALL = Quality(32_000, 0.75), Quality(24_000, 0.95)
"""Some 50 and some 30 kbit/s of mono for busy parts."""
MOST_GOOD_S = 1500.0
"""Seconds of sound, all parts together, beyond which it is stored as `SMALL`: 10 MB in base64."""

_SILENCE = 1e-4
"""Largest sample, of 1, below which a segment is not stored."""


def quality(seconds: float) -> Quality:
    """How to store so many seconds of sound, all parts of a page together."""
    return GOOD if seconds <= MOST_GOOD_S else SMALL


def encode(sound: Sound, gain: float = 1.0, quality: Quality = GOOD) -> list[str | None]:
    """Cuts a sound into segments of `SEGMENT_S`, one after the other.

    Args:
        sound: at `SAMPLE_RATE`; becomes mono.
        gain: factor.
        quality: of the MP3s.

    Returns:
        Each segment as an MP3 in base64, with `LEAD_S` more on either side; None where it is silent.
    """
    import soundfile
    import soxr

    mono = soxr.resample(sound.mean(1) * np.float32(gain), SAMPLE_RATE, quality.rate)
    length, lead = round(SEGMENT_S * quality.rate), round(LEAD_S * quality.rate)
    padded = np.pad(np.clip(mono, -1, 1), (lead, lead + length))
    segments: list[str | None] = []
    for start in range(0, len(mono), length):
        piece = padded[start : start + length + 2 * lead]
        if np.abs(piece).max() < _SILENCE:
            segments.append(None)
            continue
        file = io.BytesIO()
        soundfile.write(
            file, piece, quality.rate, "MPEG_LAYER_III", format="MP3", compression_level=quality.compression
        )
        segments.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return segments
