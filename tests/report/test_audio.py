import base64
import io
import re
import shutil

import numpy as np
import pytest
import soundfile

from jaxaccomp import demos
from jaxaccomp.errors import ConfigError, RenderError
from jaxaccomp.music import build, midi
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report import audio, clock, engine, soundfont
from jaxaccomp.report.engine import SAMPLE_RATE

QUARTER, STEP_S = 480, 0.5  # at 120 quarter notes a minute
PITCHED = [program for program in range(128) if program not in (8, 9, 10, 14, 47, 55) and program < 112]
"""Programs whose loudest partials are harmonics: neither bells, timpani and orchestra hits, nor effects."""
needs_fluidsynth = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs the program fluidsynth")


def notes(*rows, velocity=100):
    array = np.zeros(len(rows), NOTE)
    for row, (start, end, pitch) in zip(array, rows, strict=True):
        row["start"], row["end"], row["pitch"], row["velocity"] = start, end, pitch, velocity
    return array


def scale(pitches, channel=0, controls=()):
    rows = [(QUARTER * 2 * n, QUARTER * 2 * n + QUARTER, pitch) for n, pitch in enumerate(pitches)]
    return Score.build(QUARTER, [Part("x", channel, 0, notes(*rows), controls)])


def all_programs(pitch):
    """One note of each program, a second apart; the program changes just before it."""
    chunks = []
    for program in range(128):
        start = 2 * QUARTER * program
        body = [(max(start - 10, 0), bytes([0xC0, program])), (start, bytes([0x90, pitch, 100]))]
        chunks += [*body, (start + QUARTER, bytes([0x80, pitch, 0]))]
    return Score(build.assemble(1, QUARTER, [build.encode_marks(chunks)]))


def spectrum(sound, start_s, length_s=0.45):
    first = round(start_s * SAMPLE_RATE)
    part = sound[first : first + round(length_s * SAMPLE_RATE)].mean(1)
    return np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))


def frequency(spectrum):
    return spectrum.argmax() * SAMPLE_RATE / (1 << 16)


def semitones(found_hz, pitch):
    return 12 * np.log2(found_hz / 440) + 69 - pitch


def test_notes_sound_at_their_pitches():
    pitches = [48, 60, 64, 69, 76, 84]
    sound = audio.synthesize(scale(pitches))
    found = [semitones(frequency(spectrum(sound, n)), pitch) for n, pitch in enumerate(pitches)]
    harmonics = 12 * np.log2(np.arange(1, 7))
    assert all(np.abs(harmonics - interval).min() < 0.3 for interval in found)
    assert abs(found[-1]) < 0.3


@pytest.fixture(scope="module")
def programs():
    """A4 on all 128 programs, a second each."""
    return audio.synthesize(all_programs(69), synthesizer="midirenderer")


def test_nearly_every_program_has_harmonics_of_its_note(programs):
    bins_hz = np.arange((1 << 15) + 1) * SAMPLE_RATE / (1 << 16)
    partial = np.maximum(np.round(bins_hz / 220), 1) * 220  # an octave below belongs to organs and basses
    is_partial = np.abs(12 * np.log2(np.maximum(bins_hz, 1) / partial)) < 0.5
    shares = [
        (power[is_partial].sum() / power.sum()) for power in (spectrum(programs, program) ** 2 for program in PITCHED)
    ]
    assert np.mean(np.array(shares) > 0.8) > 0.9


def test_drums_are_no_pitched_sounds():
    kick, hat, crash = (audio.synthesize(scale([pitch], channel=9)) for pitch in (36, 42, 49))
    centers = []
    for sound in (kick, hat, crash):
        power = spectrum(sound, 0, 0.2)
        centers.append((power * np.arange(len(power))).sum() / power.sum() * SAMPLE_RATE / (1 << 16))
    assert centers[0] < 2500 < 4000 < centers[1]
    assert np.abs(crash[SAMPLE_RATE:]).max() > 3 * np.abs(hat[SAMPLE_RATE:]).max()


def test_bends_and_controllers_are_obeyed():
    flat = audio.synthesize(scale([81]))
    bent = audio.synthesize(scale([81], controls=[(0, 0xE0, 0x7F, 0x7F)]))
    assert frequency(spectrum(bent, 0)) / frequency(spectrum(flat, 0)) == pytest.approx(2 ** (2 / 12), rel=0.005)
    for control in (7, 11):
        quiet = audio.synthesize(scale([81], controls=[(0, 0xB0, control, 30)]))
        assert np.abs(quiet).max() < 0.4 * np.abs(flat).max()
    left = audio.synthesize(scale([81], controls=[(0, 0xB0, 10, 0)]))
    assert np.abs(left[:, 0]).max() > 3 * np.abs(left[:, 1]).max()
    held = audio.synthesize(scale([45], controls=[(0, 0xB0, 64, 127)]))
    released = audio.synthesize(scale([45]))
    later = slice(SAMPLE_RATE, 2 * SAMPLE_RATE)
    assert np.abs(held[later]).max() > 5 * np.abs(released[later]).max()


def test_tempo_changes_move_notes():
    part = Part("x", 0, 0, notes((0, 240, 81), (1920, 2160, 81)))
    slow = Score.build(QUARTER, [part], tempos=((0, 500_000), (960, 1_000_000)))
    sound = np.abs(audio.synthesize(slow)).max(1)
    assert sound[round(2.9 * SAMPLE_RATE) : round(2.98 * SAMPLE_RATE)].max() < 0.1 * sound.max()
    assert sound[round(3.0 * SAMPLE_RATE) : round(3.1 * SAMPLE_RATE)].max() > 0.5 * sound.max()
    assert len(sound) == pytest.approx((3.5 + audio.TAIL_S) * SAMPLE_RATE, abs=2)


@pytest.mark.slow
@needs_fluidsynth
def test_both_engines_agree_on_most_programs(programs):
    theirs = audio.synthesize(all_programs(69), synthesizer="fluidsynth")
    cosines = []
    for program in range(128):
        a, b = spectrum(programs, program), spectrum(theirs, program)
        cosines.append(float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9)))
    assert np.mean(np.array(cosines) > 0.9) > 0.8
    assert np.mean(np.array(cosines) > 0.5) > 0.95


def test_what_rings_after_the_last_note_is_kept():
    score = scale([40])
    sound = audio.synthesize(score)
    assert len(sound) == round((STEP_S + audio.TAIL_S) * SAMPLE_RATE)
    assert np.abs(sound[round(0.6 * SAMPLE_RATE) : round(0.8 * SAMPLE_RATE)]).max() > 0


def test_files_of_every_type_hold_the_whole_sound(tmp_path):
    sound = audio.synthesize(scale([60, 64, 67] * 12))  # more than libsndfile's Vorbis encoder takes in one call
    gain = audio.shared_gain([sound])
    for ending in audio.FILE_TYPES:
        path = audio.write(sound, tmp_path / "new" / f"song{ending}", gain)
        with soundfile.SoundFile(path) as file:
            assert (file.samplerate, file.channels) == (SAMPLE_RATE, 2)
            assert file.frames == pytest.approx(len(sound), abs=2500)
            read = file.read(dtype="float32")
        assert np.abs(read).max() == pytest.approx(audio.PEAK, abs=0.08)
    assert len(list((tmp_path / "new").iterdir())) == len(audio.FILE_TYPES)


def test_takes_of_one_song_share_one_gain():
    loud, quiet = np.full((10, 2), 0.5, np.float32), np.full((10, 2), 0.1, np.float32)
    assert audio.shared_gain([loud, quiet]) == pytest.approx(audio.PEAK / 0.5)
    assert audio.shared_gain([quiet]) == pytest.approx(audio.PEAK / 0.1)
    assert audio.shared_gain([np.zeros((10, 2), np.float32)]) == 1.0
    assert audio.shared_gain([]) == 1.0


def test_a_notebook_plays_a_clip(tmp_path):
    clip = audio.clip(scale([60]))
    assert repr(clip) == "Clip(3.0 s)"
    assert np.abs(clip.samples).max() == pytest.approx(audio.PEAK, abs=0.05)
    data = re.fullmatch(r'<audio controls src="data:audio/mpeg;base64,([^"]+)"></audio>', clip._repr_html_())[1]
    with soundfile.SoundFile(io.BytesIO(base64.b64decode(data))) as file:
        assert file.frames / file.samplerate == pytest.approx(3.0, abs=0.1)
    assert clip.write(tmp_path / "a.wav").stat().st_size > 100_000


def test_a_song_without_end_is_refused():
    part = Part("x", 0, 0, notes((0, 10, 60), (8000 * QUARTER, 8001 * QUARTER, 60)))
    with pytest.raises(RenderError, match=r"lasts 67 minutes; .* up to 60 minutes"):
        audio.synthesize(Score.build(QUARTER, [part]))


def test_wrong_endings_and_missing_files(tmp_path):
    with pytest.raises(RenderError, match=r"written as \.wav, \.flac, \.ogg, \.mp3, not \.aiff"):
        audio.render(demos.path("saints"), tmp_path / "s.aiff")
    with pytest.raises(midi.MidiError, match="cannot be read"):
        audio.render("lost.mid", tmp_path / "s.wav")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RenderError, match="cannot write sound there"):
        audio.write(np.zeros((100, 2), np.float32), tmp_path / "file" / "s.wav")


def test_missing_engines_are_told_with_how_to_get_one(monkeypatch, unchecked):
    monkeypatch.setattr(engine.util, "find_spec", lambda name: None)
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(RenderError, match=r"no synthesizer is installed; pip install midirenderer"):
        engine.find()
    with pytest.raises(RenderError, match="fluidsynth is installed"):
        engine.find("fluidsynth")
    with pytest.raises(ConfigError, match="engine must be"):
        engine.find("timidity")


@pytest.fixture
def fluidsynth(tmp_path, monkeypatch):
    """A stand-in for the program on an otherwise empty PATH, which does what its body says."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(body):
        file = tmp_path / "bin" / "fluidsynth"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    return make


def test_failures_of_fluidsynth_are_told(fluidsynth, monkeypatch):
    score = scale([60])
    fluidsynth("echo 'no such preset' >&2; exit 3")
    with pytest.raises(RenderError, match=r"fluidsynth failed \(no such preset\)"):
        audio.synthesize(score, synthesizer="fluidsynth")
    fluidsynth("exit 0")
    with pytest.raises(RenderError, match="without a word"):
        audio.synthesize(score, synthesizer="fluidsynth")
    fluidsynth("while :; do :; done")
    monkeypatch.setattr(engine, "_TIMEOUT_S", 0.2)
    with pytest.raises(RenderError, match=r"took longer than 0\.2 s"):
        audio.synthesize(score, synthesizer="fluidsynth")


def test_which_sound_font_is_taken(monkeypatch, tmp_path):
    monkeypatch.delenv(soundfont.VARIABLE, raising=False)
    assert soundfont.find().name == soundfont.BUNDLED
    assert "pretty_midi" in str(soundfont.find())
    monkeypatch.setattr(soundfont, "_bundled", lambda: None)
    monkeypatch.setattr(soundfont, "FOLDERS", (str(tmp_path),))
    with pytest.raises(RenderError, match="no General MIDI sound font is found; install pretty_midi"):
        soundfont.find()
    for name in ("Zither.sf2", "TimGM6mb.sf2", "FluidR3_GM.sf2"):
        (tmp_path / name).write_bytes(b"RIFF\0\0\0\0sfbk")
        assert soundfont.find() == tmp_path / name
    monkeypatch.setenv(soundfont.VARIABLE, str(tmp_path / "Zither.sf2"))
    assert soundfont.find().name == "Zither.sf2"
    assert soundfont.find(tmp_path / "TimGM6mb.sf2").name == "TimGM6mb.sf2"
    with pytest.raises(RenderError, match="no such sound font"):
        soundfont.find(tmp_path / "lost.sf2")
    (tmp_path / "bad.sf2").write_bytes(io.BytesIO(b"not a font").getvalue())
    with pytest.raises(RenderError, match="is no sound font"):
        soundfont.find(tmp_path / "bad.sf2")


def test_a_damaged_sound_font_is_told(tmp_path):
    (tmp_path / "cut.sf2").write_bytes(soundfont.find().read_bytes()[:5000])
    with pytest.raises(RenderError, match="midirenderer failed with the sound font"):
        audio.synthesize(scale([60]), synthesizer="midirenderer", sound_font=tmp_path / "cut.sf2")


def test_seconds_under_changing_tempos():
    score = Score.build(QUARTER, [Part("x", 0, 0, notes((0, 10, 60)))], tempos=((0, 500_000), (960, 1_000_000)))
    assert clock.seconds(score, np.array([0, 480, 960, 1440.0])).tolist() == [0, 0.5, 1.0, 2.0]
    assert clock.ticks_per_second(score, 0) == 960
    assert clock.ticks_per_second(score, 5000) == 480
