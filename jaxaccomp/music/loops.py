"""The loops over bytes and events, where the end of one event decides where the next begins; see `interpreter`."""

import numpy as np

from jaxaccomp.music.interpreter import loop


@loop
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
                good, a, p = _data_byte(data, p, stop)
                if good and not 0xC0 <= what < 0xE0:
                    good, b, p = _data_byte(data, p, stop)
            elif good and (what == 0xFF or what == 0xF0 or what == 0xF7):
                if what == 0xFF:
                    good = p < stop
                    a = int(data[p]) if good else 0
                    p += 1
                right, size, p = _quantity(data, p, stop)
                p += size
                good = good and right and p <= stop
            elif good and what != 0xF4 and what != 0xF5:  # what belongs on a cable: read over, with its data
                for _ in range(_system_data(what)):
                    if good:
                        good, b, p = _data_byte(data, p, stop)
                a, b = 0, 0
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


@loop
def _data_byte(data, p, stop):
    """A data byte, past real-time bytes that a recorder left before it: (whether there is one, value, offset past)."""
    while p < stop and 0xF8 <= data[p] < 0xFF:
        p += 1
    if p >= stop or data[p] >= 0x80:
        return False, 0, p
    return True, int(data[p]), p + 1


@loop
def _system_data(status):
    """How many data bytes follow a system common or real-time status."""
    return 2 if status == 0xF2 else 1 if status == 0xF1 or status == 0xF3 else 0


@loop
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


@loop
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


@loop
def sound(chunk, tick, status, first, second, short, notes, off):
    """Fills midi.NOTE rows with every note that is struck, and the row that ends each, or -1; see `smf.sound`.

    The track field gets 16 · chunk + channel; the program field 255 where the chunk has set none.

    Returns:
        How many notes there are.
    """
    never = np.int64(1) << 62
    rows = len(tick)
    live = np.zeros(rows, np.uint8)  # a note-off with a note to end; a note-on with a note-off to end it
    later = np.empty(rows, np.int64)  # for a note-on, the next tick at which anything ends it
    following = np.empty(rows, np.int32)
    heads, tails = np.empty(2048, np.int32), np.empty(2048, np.int32)
    depth = np.empty(2048, np.int64)
    near, far = np.empty(2048, np.int64), np.empty(2048, np.int64)  # the two next ticks at which a key has an event
    hush, after = np.empty(16, np.int64), np.empty(16, np.int64)  # the two next ticks of all-notes-off
    programs = np.empty(16, np.uint8)
    count, begin = 0, 0
    while begin < rows:
        safe, safe_count, clean, sounding = begin, count, True, 0
        heads[:], programs[:] = -1, 255
        stop = begin
        while clean and stop < rows and chunk[stop] == chunk[begin]:  # most chunks have one note-off to each note
            kind, channel = status[stop] & 0xF0, status[stop] & 0x0F
            key = channel * 128 + first[stop]
            if kind == 0xC0:
                programs[channel] = first[stop]
            elif kind == 0x90 and second[stop] > 0:
                clean = heads[key] < 0
                heads[key] = stop
                sounding += 1
            elif (kind == 0x90 or kind == 0x80) and heads[key] >= 0:
                struck = heads[key]
                clean = tick[struck] < tick[stop]
                heads[key] = -1
                sounding -= 1
                note = notes[count]
                note.start, note.end = tick[struck], tick[stop]
                note.pitch, note.velocity = first[struck], second[struck]
                note.channel, note.program = channel, programs[channel]
                note.track = chunk[stop] * 16 + channel
                off[count] = stop
                count += 1
                if sounding == 0 and clean:
                    safe, safe_count = stop + 1, count
            stop += 1
        if clean and sounding == 0:
            begin = stop
            continue
        opening, begin = begin, safe  # up to where nothing sounds, all is told
        count, stop = safe_count, begin
        depth[:] = 0
        while stop < rows and chunk[stop] == chunk[begin]:
            kind, key = status[stop] & 0xF0, (status[stop] & 0x0F) * 128 + first[stop]
            if kind == 0x90 and second[stop] > 0:
                depth[key] += 1
            elif (kind == 0x90 or kind == 0x80) and depth[key] > 0:
                depth[key] -= 1
                live[stop] = 1
            stop += 1
        depth[:] = 0
        near[:], far[:], hush[:], after[:] = never, never, never, never
        for row in range(stop - 1, begin - 1, -1):
            kind, channel, now = status[row] & 0xF0, status[row] & 0x0F, tick[row]
            key = channel * 128 + first[row]
            if kind == 0xB0 and (first[row] == 120 or first[row] >= 123):
                if hush[channel] != now:
                    hush[channel], after[channel] = now, hush[channel]
            elif kind == 0x90 and second[row] > 0:
                if depth[key] > 0:
                    depth[key] -= 1
                    live[row] = 1
                ending = near[key] if near[key] > now else far[key]
                later[row] = min(ending, hush[channel] if hush[channel] > now else after[channel])
                if near[key] != now:
                    near[key], far[key] = now, near[key]
            elif (kind == 0x90 or kind == 0x80) and live[row]:
                depth[key] += 1
                if near[key] != now:
                    near[key], far[key] = now, near[key]
        last = tick[stop - 1]
        heads[:], programs[:] = -1, 255
        for row in range(opening, begin):
            if status[row] & 0xF0 == 0xC0:
                programs[status[row] & 0x0F] = first[row]
        for row in range(begin, stop):
            kind, channel = status[row] & 0xF0, status[row] & 0x0F
            if kind == 0xC0:
                programs[channel] = first[row]
            elif kind == 0x90 or kind == 0x80:
                key = channel * 128 + first[row]
                if kind == 0x90 and second[row] > 0:
                    if live[row]:
                        if heads[key] < 0:
                            heads[key] = row
                        else:
                            following[tails[key]] = row
                        tails[key], following[row] = row, -1
                        continue
                    struck, ended = row, later[row]
                    if ended == never:
                        ended = last if last > tick[row] else tick[row] + 4 * short
                    off[count] = -1
                elif live[row] and heads[key] >= 0:
                    struck = heads[key]
                    heads[key] = following[struck]
                    ended = tick[row]
                    if ended == tick[struck]:
                        ended = min(ended + short, later[struck])
                    off[count] = row
                else:
                    continue
                note = notes[count]
                note.start, note.end = tick[struck], ended
                note.pitch, note.velocity = first[struck], second[struck]
                note.channel, note.program = channel, programs[channel]
                note.track = chunk[row] * 16 + channel
                count += 1
        begin = stop
    return count


@loop
def live(data, status, body, end, rows):
    """Fills `rows` with the events that hold bytes of a live cable, around or inside a message; returns how many."""
    count = 0
    for row in range(len(status)):
        what = status[row]
        if what < 0xF0:
            size = (1 if 0xC0 <= what < 0xE0 else 2) + (data[body[row]] >= 0x80)
            odd = end[row] - body[row] > size
        else:
            odd = 0xF0 < what < 0xFF and what != 0xF7
        if odd:
            rows[count] = row
            count += 1
    return count


@loop
def salvage(data, p, stop, out):
    """Copies what makes sense of the events of one chunk into `out`, every status spelt out.

    Args:
        data: the file.
        p: where the events begin.
        stop: where the chunk says it ends, or the file does.
        out: at least twice as long as the chunk, and 8.

    Returns:
        How many bytes were written; where reading stopped; whether at something that is no event; whether an end mark
        was last; how many data bytes above 127 were lowered.
    """
    size, running, lowered, marked = 0, 0, 0, False
    while p < stop:
        if p + 4 <= stop and data[p] == 0x4D and data[p + 1] == 0x54 and data[p + 2] == 0x72 and data[p + 3] == 0x6B:
            break  # the next chunk's beginning
        begin, at = p, size
        good, _, p = _quantity(data, p, stop)
        if not good or p >= stop:
            return at, begin, True, marked, lowered
        for k in range(begin, p):
            out[size] = data[k]
            size += 1
        what = int(data[p])
        if what < 0x80:
            what = running
        else:
            p += 1
        if what == 0:
            return at, begin, True, marked, lowered
        if what < 0xF0:
            running = what
            out[size] = what
            size += 1
            for _ in range(1 if 0xC0 <= what < 0xE0 else 2):
                while p < stop and 0xF8 <= data[p] < 0xFF:
                    p += 1
                if p >= stop:
                    return at, begin, True, marked, lowered
                out[size] = min(int(data[p]), 127)
                lowered += data[p] > 127
                size += 1
                p += 1
        elif what == 0xFF or what == 0xF0 or what == 0xF7:
            body = p
            kind = int(data[p]) if what == 0xFF and p < stop else 0
            right, length, p = _quantity(data, p + 1 if what == 0xFF else p, stop)
            p += length
            if not right or p > stop:
                return at, begin, True, marked, lowered
            out[size] = what
            size += 1
            for k in range(body, p):
                out[size] = data[k]
                size += 1
            marked = kind == 0x2F
            if marked:
                break
        else:  # a live byte: its time is given to an empty text
            p += _system_data(what)
            out[size], out[size + 1], out[size + 2] = 0xFF, 1, 0
            size += 3
    return size, p, False, marked, lowered


@loop
def encode(ticks, pool, starts, sizes, out):
    """Writes events with their delta times into `out`, which is long enough. Returns how many bytes there are."""
    position, now = 0, 0
    for row in range(len(ticks)):
        delta = ticks[row] - now
        now = ticks[row]
        while delta >> 28:  # more than a delta time can say: an empty text goes between
            for byte in (0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0x01, 0x00):
                out[position] = byte
                position += 1
            delta -= (1 << 28) - 1
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
