"""The loops say the same in Python and as machine code, and numba is asked only where there is much to do."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.errors import MidiError
from jaxaccomp.music import interpreter, midi, repair, smf

SONGS = [demos.path(name).read_bytes() for name in demos.names()]


def _read(data: bytes) -> list[bytes | str]:
    """Everything that the loops say of a file, or that it is broken."""
    try:
        header = smf.parse_header(data, "a song")
        events = smf.decode(data, header, "a song")
    except MidiError as error:
        return [str(error)]
    columns = [*events, *smf.pair(events), *smf.sound(events, 480), smf.live_rows(data, events)]
    every = smf.encode(np.cumsum(events.tick), np.frombuffer(data, np.uint8), events.body, events.end - events.body)
    return [*(column.tobytes() for column in columns), every]


def _mended(data: bytes) -> tuple:
    try:
        return repair.mend(data, "a song")
    except MidiError as error:
        return (str(error),)


def _damaged(data: bytes, number: int) -> bytes:
    generator = np.random.default_rng(number)
    damaged = bytearray(data)
    for place in generator.integers(14, len(data), 1 + number % 4):
        damaged[place] = generator.integers(256)
    return bytes(damaged)


@pytest.fixture
def limit(monkeypatch):
    def to(value: int) -> None:
        monkeypatch.setattr(interpreter, "INTERPRETED", value)

    return to


def test_python_and_machine_code_say_the_same_of_sound_and_broken_files(limit):
    files = SONGS + [_damaged(SONGS[n % len(SONGS)], n) for n in range(40)]
    limit(1 << 62)
    interpreted = [_read(data) for data in files]
    limit(-1)
    assert [_read(data) for data in files] == interpreted
    assert any(len(told) == 1 for told in interpreted), "some were to be broken"


def test_python_and_machine_code_mend_alike(limit):
    files = [_damaged(SONGS[n % len(SONGS)], 100 + n) for n in range(20)]
    limit(1 << 62)
    interpreted = [_mended(data) for data in files]
    limit(-1)
    assert [_mended(data) for data in files] == interpreted
    assert any(len(told) == 2 and told[1] for told in interpreted), "some were to be mended"


def test_one_song_imports_no_numba():
    program = (
        "import sys; from jaxaccomp import demos; from jaxaccomp.music import midi; "
        "midi.read(demos.path('saints')); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["False"]


def test_many_songs_are_read_by_machine_code(monkeypatch, limit):
    limit(10_000)
    monkeypatch.setattr(interpreter, "_walked", 0)
    asked = []
    compiled = interpreter._compiled
    monkeypatch.setattr(interpreter, "_compiled", lambda: asked.append(1) or compiled())
    first = midi.read(SONGS[0])
    assert not asked
    assert all(midi.read(SONGS[0]).tracks == first.tracks for _ in range(3))
    assert asked


def test_what_is_timed_is_machine_code_from_the_first_song_on(monkeypatch):
    monkeypatch.setattr(interpreter, "_walked", 0)
    asked = []
    compiled = interpreter._compiled
    monkeypatch.setattr(interpreter, "_compiled", lambda: asked.append(1) or compiled())
    interpreter.use_machine_code()
    midi.read(SONGS[0])
    assert asked
