"""`infer` on one song: what it writes and says, and one clear sentence for whatever is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxaccomp import cli, demos
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.music import melody, midi

DEMO = demos.path("korobeiniki")


def _score(*parts: midi.Part) -> midi.Score:
    return midi.Score.build(120, parts)


def _part(starts, length: int, *, channel: int = 0, program: int = 0, name: str = "", pitch: int = 72) -> midi.Part:
    notes = np.zeros(len(starts), midi.NOTE)
    notes["start"], notes["pitch"], notes["velocity"] = starts, pitch, 90
    notes["end"] = notes["start"] + length
    return midi.Part(name, channel, program, notes)


@pytest.fixture
def infer(tiny_checkpoint, capsys):
    """Runs the command line here: (exit code, stdout, stderr)."""

    def run(*arguments):
        arguments = [str(argument) for argument in arguments]
        if "--checkpoint" not in arguments:
            arguments += ["--checkpoint", str(tiny_checkpoint)]
        code = cli.infer(arguments)
        return code, *capsys.readouterr()

    return run


def _refused(result, *words: str, code: int = 1) -> None:
    """One sentence on stderr, nothing of a traceback, the right exit code."""
    got, _, said = result
    assert got == code, said
    assert said.startswith("infer.py: ")
    assert len(said.strip().splitlines()) == 1, said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_one_song(infer, tmp_path):
    code, said, _ = infer(DEMO, "--out", tmp_path / "out")
    assert code == 0
    assert "the melody is track" in said
    assert f"wrote {tmp_path / 'out' / 'korobeiniki.mid'}" in said
    result = midi.read(tmp_path / "out" / "korobeiniki.mid")
    assert any(track.is_drums for track in result.tracks)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["korobeiniki.mid"]


def test_the_same_command_writes_the_same_bytes_and_another_seed_others(infer, tmp_path):
    written = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert infer(DEMO, "--out", tmp_path / out, "--seed", seed)[0] == 0
        written.append((tmp_path / out / "korobeiniki.mid").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_variations_and_temperatures(infer, tmp_path):
    assert infer(DEMO, "--out", tmp_path, "--variations", 2, "--temperature", "0.5,0.3")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["korobeiniki.mid", "korobeiniki.take2.mid"]
    first, second = ((tmp_path / f"korobeiniki{suffix}.mid").read_bytes() for suffix in ("", ".take2"))
    assert first != second


@pytest.mark.parametrize(("flag", "gone"), [("--drums-only", "Bass"), ("--bass-only", "Drums")])
def test_one_part_only(infer, tmp_path, flag, gone):
    assert infer(DEMO, "--out", tmp_path, flag)[0] == 0
    names = {track.name for track in midi.read(tmp_path / "korobeiniki.mid").tracks}
    assert {"Bass", "Drums"} & names == {"Bass", "Drums"} - {gone}


@pytest.mark.slow
def test_rounded_products_play_a_collection_as_they_play_a_song(infer, tmp_path):
    names = ("korobeiniki", "greensleeves")
    folder = tmp_path / "songs"
    folder.mkdir()
    for name in names:
        shutil.copy(demos.path(name), folder)
    code, _, _ = infer(folder, "--out", tmp_path / "together", "--dtype", "bfloat16")
    assert code == 0
    for name in names:
        infer(folder / f"{name}.mid", "--out", tmp_path / "alone", "--dtype", "bfloat16")
        together, alone = (tmp_path / where / f"{name}.mid" for where in ("together", "alone"))
        assert together.read_bytes() == alone.read_bytes()
    assert PlayOptions(dtype="bfloat16").digest() != PlayOptions().digest()


@pytest.mark.slow
def test_the_melody_may_be_told_by_number_or_name(infer, tmp_path):
    song = _score(
        _part(range(0, 4800, 120), 100, name="Flute"), _part(range(0, 4800, 240), 200, channel=1, name="Oboe", pitch=70)
    )
    midi.write(song, tmp_path / "duet.mid")
    for word, name in (("Oboe", "Oboe"), ("oboe", "Oboe"), ("0", "Flute"), ("1", "Oboe")):
        code, said, _ = infer(tmp_path / "duet.mid", "--out", tmp_path / word, "--melody", word)
        assert code == 0
        assert f"'{name}'" in said
        kept = midi.read(tmp_path / word / "duet.mid")
        assert name in {track.name for track in kept.tracks}
        assert {"Oboe", "Flute"} - {name} - {track.name for track in kept.tracks}
    infer(tmp_path / "duet.mid", "--out", tmp_path / "out", "--keep", "all")
    assert {"Oboe", "Flute"} <= {track.name for track in midi.read(tmp_path / "out" / "duet.mid").tracks}


@pytest.mark.slow
def test_demo_with_a_plot_and_the_list_of_demos(infer, tmp_path):
    code, said, _ = infer("--demo", "greensleeves", "--out", tmp_path, "--plot-original")
    assert code == 0
    assert (tmp_path / "greensleeves.mid").exists()
    assert (tmp_path / "greensleeves.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {tmp_path / 'greensleeves.png'}" in said
    code, said, _ = infer("--demo", "list")
    assert [line.split()[0] for line in said.splitlines()] == demos.names()
    assert "49 bars of 6/8, 112 quarter notes a minute, A minor, 1:19 min" in said


def test_sound_that_cannot_be_rendered_loses_no_notes(infer, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXACCOMP_SOUNDFONT", str(tmp_path / "lost.sf2"))
    result = infer(DEMO, "--out", tmp_path, "--audio")
    _refused(result, "lost.sf2: no such sound font")
    assert (tmp_path / "korobeiniki.mid").exists()


def test_missing_file(infer, tmp_path):
    _refused(infer(tmp_path / "none.mid", "--out", tmp_path), "none.mid", "No such file")


@pytest.mark.slow
def test_files_named_one_by_one_are_asked_for(infer, tmp_path):
    (tmp_path / "a.mid").write_text("no music")
    said = infer(DEMO, tmp_path / "a.mid", tmp_path / "none.mid", "--out", tmp_path / "out", "--workers", 1)
    _refused(said, "2 of 3 songs failed; the manifest in", "out")
    assert "3 songs: 1 done" in said[1]


def test_no_midi_file(infer, tmp_path):
    (tmp_path / "a.mid").write_text("X:1\nT:not MIDI\n")
    _refused(infer(tmp_path / "a.mid", "--out", tmp_path / "out"), "a.mid", "MThd")


def test_empty_and_cut_off_files(infer, tmp_path):
    (tmp_path / "empty.mid").write_bytes(b"")
    _refused(infer(tmp_path / "empty.mid", "--out", tmp_path / "out"), "empty.mid", "is empty")
    (tmp_path / "cut.mid").write_bytes(DEMO.read_bytes()[:300])
    _refused(infer(tmp_path / "cut.mid", "--out", tmp_path / "out", "--strict"), "cut.mid")
    assert not (tmp_path / "out").exists()
    code, _, warnings = infer(tmp_path / "cut.mid", "--out", tmp_path / "out")
    assert code == 0
    assert "warning:" in warnings
    assert "3 tracks promised, 2 found" in warnings
    assert (tmp_path / "out" / "cut.mid").exists()


def test_drums_only(infer, tmp_path):
    midi.write(_score(_part(range(0, 960, 120), 60, channel=9, pitch=36)), tmp_path / "kit.mid")
    _refused(infer(tmp_path / "kit.mid", "--out", tmp_path / "out"), "kit.mid", "only drums")


def test_silence(infer, tmp_path):
    midi.write(_score(_part([], 0)), tmp_path / "silence.mid")
    _refused(infer(tmp_path / "silence.mid", "--out", tmp_path / "out"), "silence.mid", "no notes")


def test_one_note_is_a_song(infer, tmp_path):
    midi.write(_score(_part([0], 240)), tmp_path / "note.mid")
    code, said, _ = infer(tmp_path / "note.mid", "--out", tmp_path / "out")
    assert code == 0
    assert "1 window of 16 bars" in said
    result = midi.read(tmp_path / "out" / "note.mid")
    tune = result.track_notes(melody.choose(result, track=0).track)
    assert tune[["start", "end", "pitch"]].tolist() == [(0, 240, 72)]
    assert int(result.notes["start"].max()) < 480  # the band stops with the melody's only bar


def test_three_hours(infer, tmp_path):
    bars = 3 * 60 * 120 // 4
    midi.write(_score(_part(range(0, bars * 480, 240), 200)), tmp_path / "long.mid")
    code, said, _ = infer(tmp_path / "long.mid", "--out", tmp_path / "out", "--temperature", "1")
    assert code == 0
    assert f"{-(-bars // 16)} windows of 16 bars" in said
    result = midi.read(tmp_path / "out" / "long.mid")
    drums = [track.index for track in result.tracks if track.is_drums]
    assert int(result.track_notes(drums[0])["start"].max()) > (bars - 16) * 480


def test_a_song_beyond_all_limits(infer, tmp_path):
    midi.write(_score(_part([0, 25_000 * 480], 240)), tmp_path / "endless.mid")
    _refused(infer(tmp_path / "endless.mid", "--out", tmp_path / "out"), "endless.mid", "limit")


def test_no_such_track(infer, tmp_path):
    _refused(infer(DEMO, "--out", tmp_path, "--melody", "theremin"), "'theremin'", "it has 0")
    _refused(infer(DEMO, "--out", tmp_path, "--melody", "77"), "no track 77")


def test_folder_without_out(infer, tmp_path):
    _refused(infer(tmp_path), "--out", code=2)


def test_output_that_cannot_be_written(infer, tmp_path):
    (tmp_path / "file").write_text("")
    _refused(infer(DEMO, "--out", tmp_path / "file"), str(tmp_path / "file"), "cannot be made")


def test_a_result_that_is_there_already_is_not_replaced(infer, tmp_path):
    (tmp_path / "korobeiniki.mid").mkdir()
    code, _, _ = infer(DEMO, "--out", tmp_path)
    assert code == 0
    assert (tmp_path / "korobeiniki.seed0.mid").is_file()


def test_output_over_its_own_input(infer, tmp_path):
    song = tmp_path / "song.mid"
    song.write_bytes(DEMO.read_bytes())
    _refused(infer(song, "--out", tmp_path), "would overwrite", "song.mid", code=2)
    assert song.read_bytes() == DEMO.read_bytes()


def test_unknown_checkpoint(infer, tmp_path):
    _refused(infer(DEMO, "--out", tmp_path, "--checkpoint", "trio-huge"), "trio-huge", "no such checkpoint")


def test_damaged_checkpoint(infer, tmp_path, tiny_checkpoint):
    import shutil

    damaged = shutil.copytree(tiny_checkpoint, tmp_path / "damaged")
    largest = max((path for path in (damaged / "arrays").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    largest.write_bytes(bytes(content))
    _refused(infer(DEMO, "--out", tmp_path, "--checkpoint", damaged), "damaged", "again")
    shutil.rmtree(damaged / "arrays")
    _refused(infer(DEMO, "--out", tmp_path, "--checkpoint", damaged), "damaged", "again")
    (damaged / "config.json").write_text("{")
    _refused(infer(DEMO, "--out", tmp_path, "--checkpoint", damaged), "config.json", "JSON")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--demo NAME"),
        (["--demo", "korobeiniki", "x.mid"], "takes no INPUT"),
        (["--demo", "yesterday"], "no demo tune"),
        ([DEMO, "--variations", "0"], "--variations"),
        ([DEMO, "--temperature", "0.1,0.2,0.3"], "--temperature"),
        ([DEMO, "--batch-size", "-1"], "--batch-size"),
    ],
)
def test_wrong_usage(infer, arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _refused(infer(*arguments), word, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["warm", "-1", "nan", "inf", "0.1,,0.2"])
def test_temperatures_that_are_none(infer, value, capsys):
    code, _, said = infer(DEMO, f"--temperature={value}")
    assert code == 2
    assert "--temperature" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_from_any_folder_as_its_own_process(tmp_path, tiny_checkpoint):
    """As a user starts it: its own interpreter, another folder, no accelerator; and what it must not load."""
    script = Path(cli.__file__).parents[1] / "infer.py"
    command = [sys.executable, "-X", "importtime", script, DEMO, "--out", "out", "--checkpoint", tiny_checkpoint]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "korobeiniki.mid").exists()
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "jax" in loaded
    assert not {"tensorflow", "optax", "matplotlib", "note_seq", "tensorflow_datasets"} & loaded


def test_no_traceback_from_a_real_process(tmp_path):
    script = Path(cli.__file__).parents[1] / "infer.py"
    done = subprocess.run(
        [sys.executable, script, "no-such.mid", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("infer.py: no-such.mid: cannot be read")
    assert len(done.stderr.strip().splitlines()) == 1
