import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.errors import RenderError
from jaxaccomp.report import audio


def sound_fonts():
    try:
        return [audio.find_sound_font()]
    except RenderError:
        return []


can_render = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not sound_fonts(), reason="needs FluidSynth and a General MIDI sound font"
)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for fluidsynth on an otherwise empty PATH, which does what its body says; and a sound font."""
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    monkeypatch.setenv(audio.SOUND_FONT_VARIABLE, str(font))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(body):
        file = tmp_path / "bin" / "fluidsynth"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    return make


@can_render
def test_a_demo_becomes_sound(tmp_path):
    path = audio.render(demos.path("korobeiniki"), tmp_path / "new" / "k.wav", sample_rate=11025)
    with wave.open(str(path)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(float)
    assert 52 < seconds < 62
    assert np.abs(samples).max() > 3000
    assert [file.name for file in path.parent.iterdir()] == ["k.wav"]


@can_render
def test_ogg_is_ogg(tmp_path):
    assert audio.render(demos.path("saints"), tmp_path / "s.ogg", sample_rate=22050).read_bytes()[:4] == b"OggS"


def test_a_missing_program_is_told_with_how_to_get_it(program, tmp_path):
    with pytest.raises(RenderError, match=r"fluidsynth is not installed; on Debian .*apt-get install.*brew install"):
        audio.render(demos.path("saints"), tmp_path / "s.wav")


def test_a_missing_sound_font_is_told_with_how_to_get_it(monkeypatch):
    monkeypatch.delenv(audio.SOUND_FONT_VARIABLE, raising=False)
    monkeypatch.setattr(audio, "SOUND_FONT_FOLDERS", ())
    with pytest.raises(RenderError, match=r"no General MIDI sound font is installed; .*timgm6mb-soundfont"):
        audio.find_sound_font()


def test_which_sound_font_is_taken(monkeypatch, tmp_path):
    monkeypatch.delenv(audio.SOUND_FONT_VARIABLE, raising=False)
    monkeypatch.setattr(audio, "SOUND_FONT_FOLDERS", (str(tmp_path),))
    for name in ("Zither.sf3", "TimGM6mb.sf2", "FluidR3_GM.sf2"):
        (tmp_path / name).write_bytes(b"RIFF")
        assert audio.find_sound_font() == tmp_path / name
    monkeypatch.setenv(audio.SOUND_FONT_VARIABLE, str(tmp_path / "Zither.sf3"))
    assert audio.find_sound_font().name == "Zither.sf3"
    assert audio.find_sound_font(tmp_path / "TimGM6mb.sf2").name == "TimGM6mb.sf2"
    with pytest.raises(RenderError, match="no such sound font"):
        audio.find_sound_font(tmp_path / "lost.sf2")


def test_failures_of_the_program_leave_nothing_behind(program, tmp_path):
    out = tmp_path / "out" / "s.wav"
    program("echo 'no such preset' >&2; exit 3")
    with pytest.raises(RenderError, match=r"fluidsynth failed on .*saints.mid \(no such preset\)"):
        audio.render(demos.path("saints"), out)
    program("exit 0")
    with pytest.raises(RenderError, match="without a word"):
        audio.render(demos.path("saints"), out)
    program("while :; do :; done")
    with pytest.raises(RenderError, match=r"took longer than 0\.3 s"):
        audio.render(demos.path("saints"), out, timeout_s=0.3)
    assert list(out.parent.iterdir()) == []


def test_wrong_endings_and_missing_files(tmp_path):
    with pytest.raises(RenderError, match=r"written as \.wav, \.ogg, \.flac, not \.mp3"):
        audio.render(demos.path("saints"), tmp_path / "s.mp3")
    with pytest.raises(RenderError, match="no such MIDI file"):
        audio.render(Path("lost.mid"), tmp_path / "s.wav")
