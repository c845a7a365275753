"""The loops over bytes and events that have to be machine code: where one event ends decides where the next begins.

They are compiled on first use and the result is kept on disk, beside this file or, where that cannot be written, in
the user's cache folder. numba comes with note-seq (through librosa).
"""

import inspect
from collections.abc import Callable

import numba
import numpy as np


def compiled(function: Callable) -> Callable:
    """Compiles a function when it is first called; the machine code outlives the process if any folder takes it."""
    function = inspect.unwrap(function)  # under pytest, type checks are wrapped around every function
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True)(function)


@compiled
def decode(data, starts, ends, chunk, tick, status, first, second, start, body, end):
    """Fills the columns of `smf.Events` from the byte ranges of the chunks.

    Returns:
        How many events there are, and the offset of the first that makes no sense, or -1. Behind a chunk's end mark
        rubbish is no error: nothing reads it, and some writers leave it.
    """
    count = 0
    for c in range(len(starts)):
        p, stop, now, running, marked = starts[c], ends[c], 0, 0, -1
        while p < stop:
            begin = p
            good, delta, p = _quantity(data, p, stop)
            good = good and p < stop
            here, what, a, b = p, 0, 0, 0
            if good:
                what = int(data[p])
                if what < 0x80:
                    what = running
                    good = running > 0
                else:
                    p += 1
            if good and what < 0xF0:
                running = what
                size = 1 if 0xC0 <= what < 0xE0 else 2
                good = p + size <= stop
                if good:
                    a = int(data[p])
                    b = int(data[p + 1]) if size == 2 else 0
                    good = a < 0x80 and b < 0x80
                p += size
            elif good and (what == 0xFF or what == 0xF0 or what == 0xF7):
                if what == 0xFF:
                    good = p < stop
                    a = int(data[p]) if good else 0
                    p += 1
                right, size, p = _quantity(data, p, stop)
                p += size
                good = good and right and p <= stop
            else:
                good = False
            if not good:
                if marked < 0:
                    return count, begin
                count = marked
                break
            now += delta
            chunk[count], tick[count], status[count], first[count], second[count] = c, now, what, a, b
            start[count], body[count], end[count] = begin, here, p
            count += 1
            if what == 0xFF and a == 0x2F and marked < 0:
                marked = count
    return count, -1


@compiled
def _quantity(data, p, stop):
    """A variable-length quantity of at most four bytes: (whether there is one, value, offset past it)."""
    value = 0
    for _ in range(4):
        if p >= stop:
            return False, 0, p
        byte = int(data[p])
        p += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return True, value, p
    return False, 0, p


@compiled
def pair(chunk, tick, status, first, second, notes, off):
    """Fills midi.NOTE rows and the row index of each note's end; see `smf.pair`. Returns how many notes there are.

    The track field gets 16 · chunk + channel.
    """
    heads = np.full(2048, -1, np.int32)  # sounding notes of each channel and pitch: first, last, and a chain through
    tails = np.empty(2048, np.int32)
    following = np.empty(len(tick), np.int32)
    programs = np.zeros(16, np.uint8)
    count, owner = 0, -1
    for row in range(len(tick)):
        kind, channel = status[row] & 0xF0, status[row] & 0x0F
        if kind == 0xF0:
            continue
        if chunk[row] != owner:
            owner = chunk[row]
            heads[:] = -1
            programs[:] = 0
        key = channel * 128 + first[row]
        if kind == 0xC0:
            programs[channel] = first[row]
        elif kind == 0x90 and second[row] > 0:
            if heads[key] < 0:
                heads[key] = row
            else:
                following[tails[key]] = row
            tails[key], following[row] = row, -1
        elif kind == 0x90 or kind == 0x80:
            sounding, before = heads[key], count
            while sounding >= 0 and tick[sounding] < tick[row]:
                note = notes[count]
                note.start, note.end = tick[sounding], tick[row]
                note.pitch, note.velocity = first[sounding], second[sounding]
                note.channel, note.program = channel, programs[channel]
                note.track = owner * 16 + channel
                off[count] = row
                count += 1
                sounding = following[sounding]
            heads[key] = sounding if count > before else -1
    return count


@compiled
def encode(ticks, pool, starts, sizes, out):
    """Writes events with their delta times into `out`, which is long enough. Returns how many bytes there are."""
    position, now = 0, 0
    for row in range(len(ticks)):
        delta = ticks[row] - now
        now = ticks[row]
        for shift in (21, 14, 7):
            if delta >> shift:
                out[position] = delta >> shift & 0x7F | 0x80
                position += 1
        out[position] = delta & 0x7F
        position += 1
        for k in range(sizes[row]):
            out[position] = pool[starts[row] + k]
            position += 1
    return position
