"""What a file tells the synthesizer beside notes: resets, and which channels are drums.

Source: General MIDI 1 and 2 (RP-003, RP-024); Roland SC-55 and SC-88 owner's manuals (GS); Yamaha XG specification 2.0.
"""

from typing import NamedTuple

import numpy as np

from jaxaccomp.music import smf
from jaxaccomp.music.build import DRUM_CHANNEL

_GM_MODES = {1: "gm", 2: "gm", 3: "gm"}  # on, off, GM2 on
_XG_DRUM_BANKS = (126, 127)
_GM2_DRUM_BANK = 120
_BANK = 0


class Setup(NamedTuple):
    """How a file sets the synthesizer up."""

    reset_ticks: np.ndarray
    """Where every channel goes back to program 0, ascending."""
    drum_switches: dict[tuple[int, int], list[tuple[int, bool]]]
    """Of each (port, channel) that becomes drums or stops being drums: (tick, whether it is from there on)."""

    def is_drums(self, port: int, channel: int, tick: int) -> bool:
        """Whether what a channel plays at a tick is drums."""
        now = channel == DRUM_CHANNEL
        for start, drums in self.drum_switches.get((port, channel), ()):
            if start > tick:
                break
            now = drums
        return now


def setup_of(data: bytes, events: smf.Events, ports: np.ndarray) -> Setup:
    """Reads system exclusives and bank selects.

    Args:
        data: the file.
        events: its events.
        ports: MIDI port of each chunk.
    """
    system = np.flatnonzero(events.status == 0xF0)
    banks = np.flatnonzero(
        ((events.status & 0xF0) == smf.CONTROL) & (events.first == _BANK) & (events.second >= _GM2_DRUM_BANK)
    )
    if not len(system) and not len(banks):
        return Setup(np.zeros(0, np.int64), {})
    if len(banks):  # of channels that choose a drum bank at all, what they choose at other times matters, too
        place = (ports[events.chunk] << 4) | (events.status & 0x0F)
        is_bank = ((events.status & 0xF0) == smf.CONTROL) & (events.first == _BANK)
        banks = np.flatnonzero(is_bank & np.isin(place, place[banks]))
    rows = np.concatenate([system, banks])
    rows = rows[np.argsort(events.tick[rows], kind="stable")]
    resets: list[int] = []
    switches: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    mode = ""
    for row in rows.tolist():
        tick, port = int(events.tick[row]), int(ports[events.chunk[row]])
        if events.status[row] != 0xF0:
            channel, bank = int(events.status[row]) & 0x0F, int(events.second[row])
            drums = bank == _GM2_DRUM_BANK or (bank in _XG_DRUM_BANKS and mode != "gs")
            if channel != DRUM_CHANNEL:  # drums by default, and many a file sends it bank 0 without meaning it
                switches.setdefault((port, channel), []).append((tick, drums))
            continue
        said = smf.payload(data, events, row)
        if reset := _reset(said):
            mode = reset
            resets.append(tick)
            for (where, channel), told in switches.items():
                if where == port:
                    told.append((tick, channel == DRUM_CHANNEL))
        elif found := _rhythm_part(said):
            channel, drums = found
            switches.setdefault((port + (channel >> 4), channel & 15), []).append((tick, drums))
    return Setup(np.array(resets, np.int64), switches)


def _reset(said: bytes) -> str:
    """`gm`, `gs` or `xg` if this system exclusive resets the synthesizer to it, else nothing."""
    if len(said) >= 4 and said[0] == 0x7E and said[2] == 0x09:
        return _GM_MODES.get(said[3], "")
    if len(said) >= 7 and said[0] == 0x41 and said[2:4] == b"\x42\x12" and said[4:7] in (b"\x40\0\x7f", b"\0\0\x7f"):
        return "gs"
    if (
        len(said) >= 6
        and said[0] == 0x43
        and said[1] & 0xF0 == 0x10
        and said[2:6] in (b"\x4c\0\0\x7e", b"\x4c\0\0\x7f")
    ):
        return "xg"
    return ""


def _rhythm_part(said: bytes) -> tuple[int, bool] | None:
    """(channel, whether it is drums) if this system exclusive decides that of a channel, else None."""
    if len(said) >= 8 and said[0] == 0x41 and said[2:5] == b"\x42\x12\x40" and said[5] >> 4 == 1 and said[6] == 0x15:
        block = said[5] & 15
        channel = 9 if block == 0 else block - 1 if block < 10 else block
        return channel, said[7] > 0
    if len(said) >= 7 and said[0] == 0x43 and said[1] & 0xF0 == 0x10 and said[2:4] == b"\x4c\x08" and said[5] == 7:
        return said[4] & 31, said[6] > 0
    return None
