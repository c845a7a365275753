"""Sound → short MP3s in base64, as a page embeds them: a long song is decoded piece by piece, as it is heard."""

import base64
import io
import math

import numpy as np

from jaxaccomp.report.engine import SAMPLE_RATE, Sound

SEGMENT_S = 15.0
LEAD_S = 0.1
"""How much of its neighbours each segment holds on either side: an encoder needs a while to settle."""
RATE = 32_000
"""Hertz of the MP3s; their band ends below 14 kHz anyway."""
COMPRESSION = 0.75
"""0 is the largest and best MP3, 1 the smallest; .75 gives some 35 kbit/s of mono."""

_SILENCE = 1e-4
"""Largest sample, of 1, below which a segment is not stored."""


def encode(sound: Sound, gain: float = 1.0) -> list[str | None]:
    """Cuts a sound into segments of `SEGMENT_S`, one after the other.

    Args:
        sound: at `SAMPLE_RATE`; becomes mono.
        gain: factor.

    Returns:
        Each segment as an MP3 in base64, with `LEAD_S` more on either side; None where it is silent.
    """
    import soundfile
    from scipy.signal import resample_poly

    ratio = math.gcd(RATE, SAMPLE_RATE)
    mono = resample_poly(sound.mean(1) * np.float32(gain), RATE // ratio, SAMPLE_RATE // ratio).astype(np.float32)
    length, lead = round(SEGMENT_S * RATE), round(LEAD_S * RATE)
    padded = np.pad(np.clip(mono, -1, 1), (lead, lead + length))
    segments: list[str | None] = []
    for start in range(0, len(mono), length):
        piece = padded[start : start + length + 2 * lead]
        if np.abs(piece).max() < _SILENCE:
            segments.append(None)
            continue
        file = io.BytesIO()
        soundfile.write(file, piece, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=COMPRESSION)
        segments.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return segments
