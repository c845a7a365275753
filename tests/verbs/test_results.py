"""What `infer` writes beside the MIDI file of one song, what it calls it, and what it says of it."""

import json
import shlex

import numpy as np
import pytest

from jaxaccomp import cli, demos
from jaxaccomp.generate import song as songs
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.music import midi
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.verbs import results

DEMO = demos.path("korobeiniki")


@pytest.fixture
def infer(tiny_checkpoint, capsys):
    """Runs the command line here, without attempts beyond the first: (exit code, stdout, stderr)."""

    def run(*arguments):
        arguments = [*map(str, arguments), "--checkpoint", str(tiny_checkpoint), "--fast"]
        return cli.infer(arguments), *capsys.readouterr()

    return run


@pytest.fixture
def short(tmp_path):
    """A song of two bars."""
    array = np.zeros(8, NOTE)
    array["start"], array["pitch"], array["velocity"] = 480 * np.arange(8), 72, 80
    array["end"] = array["start"] + 400
    Score.build(480, [Part("Lead", 0, 73, array)]).write(tmp_path / "short.mid")
    return tmp_path / "short.mid"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_another_seed_never_replaces_a_result(infer, tmp_path):
    infer(DEMO, "--out", tmp_path)
    first = (tmp_path / "korobeiniki.mid").read_bytes()
    code, said, _ = infer(DEMO, "--out", tmp_path, "--seed", 9)
    assert code == 0
    assert f"{tmp_path / 'korobeiniki.mid'} holds other music and is kept; --force replaces it" in said
    assert (tmp_path / "korobeiniki.mid").read_bytes() == first
    assert names(tmp_path) == ["korobeiniki.mid", "korobeiniki.seed9.mid"]
    infer(DEMO, "--out", tmp_path)
    infer(DEMO, "--out", tmp_path, "--seed", 9)
    assert names(tmp_path) == ["korobeiniki.mid", "korobeiniki.seed9.mid"]  # the same bytes again replace nothing
    infer(DEMO, "--out", tmp_path, "--seed", 9, "--temperature", 1)
    assert names(tmp_path) == ["korobeiniki.mid", "korobeiniki.seed9.2.mid", "korobeiniki.seed9.mid"]
    _, said, _ = infer(DEMO, "--out", tmp_path, "--seed", 9, "--force")
    assert "is kept" not in said
    assert (tmp_path / "korobeiniki.mid").read_bytes() == (tmp_path / "korobeiniki.seed9.mid").read_bytes()


def test_takes_say_their_number_and_scores(infer, tmp_path):
    _, said, _ = infer(DEMO, "--out", tmp_path, "--variations", 2, "--seed", 3)
    lines = [line for line in said.splitlines() if line.startswith("wrote")]
    assert "take 1 of 2, bass and drums by " in lines[0]
    assert "take 2 of 2, bass and drums by " in lines[1]
    assert all("seed 3; " in line and "bars that are played in" in line for line in lines)
    assert names(tmp_path) == ["korobeiniki.mid", "korobeiniki.take2.mid"]


@pytest.mark.slow
def test_out_may_be_a_file(infer, tmp_path):
    code, said, _ = infer(DEMO, "--out", tmp_path / "new" / "my.mid", "--variations", 2, "--plot")
    assert code == 0
    assert names(tmp_path / "new") == ["my.mid", "my.png", "my.take2.mid", "my.take2.png"]
    assert f"wrote {tmp_path / 'new' / 'my.mid'}" in said


def test_page_and_sound_beside_the_song(infer, short, tmp_path):
    code, said, _ = infer(short, "--out", tmp_path / "out", "--page", "--audio")
    assert code == 0
    assert names(tmp_path / "out") == ["short.html", "short.mid", "short.mp3"]
    text = (tmp_path / "out" / "short.html").read_text()
    assert '"name":"Take 1"' in text
    assert said.count("wrote ") == 3


def test_quiet_says_nothing(infer, tmp_path):
    assert infer(DEMO, "--out", tmp_path, "--quiet", "--plot") == (0, "", "")
    assert names(tmp_path) == ["korobeiniki.mid", "korobeiniki.png"]


def test_json_says_what_was_made(infer, tmp_path):
    code, said, _ = infer(DEMO, "--out", tmp_path, "--json", "--variations", 2, "--plot")
    told = json.loads(said)
    assert code == 0
    assert told["input"] == str(DEMO)
    assert told["melody"]["track"] == 0
    assert [take["file"] for take in told["takes"]] == [
        str(tmp_path / "korobeiniki.mid"),
        str(tmp_path / "korobeiniki.take2.mid"),
    ]
    assert all(np.isfinite(list(take["scores"].values())).all() for take in told["takes"])
    assert told["plots"] == [str(tmp_path / "korobeiniki.png"), str(tmp_path / "korobeiniki.take2.png")]
    assert {row["name"] for row in json.loads(infer("--demo", "list", "--json")[1])} == set(demos.names())


def notes(pitch):
    array = np.zeros(1, NOTE)
    array["end"], array["pitch"], array["velocity"] = 480, pitch, 80
    return array


def test_what_is_left_out_is_named():
    parts = [Part("Lead", 0, 73, notes(72)), Part("Pad", 1, 89, notes(60)), Part("Bass", 2, 33, notes(36))]
    song = songs.prepare(Score.build(480, parts), PlayOptions(melody="Lead"))
    hint = "; --keep all keeps those that are neither bass nor drums"
    assert results.left_out(song, PlayOptions()) == f"left out: tracks 1 'Pad', 2 'Bass'{hint}"
    assert results.left_out(song, PlayOptions(keep="all")) == "left out: track 2 'Bass'"
    assert results.left_out(songs.prepare(Score.build(480, parts[:1])), PlayOptions()) == ""


def test_the_command_makes_the_same_takes_again(infer, tmp_path):
    options = PlayOptions.of(seed=4, temperature=[0.7, 0.2], keep="all", variations=2)
    text = results.command("--demo saints", tmp_path / "a b", "trio-small", options, ["--page"])
    words = shlex.split(text)
    assert words[:2] == ["python", "infer.py"]
    assert words[2:6] == ["--demo", "saints", "--out", str(tmp_path / "a b")]
    assert words[-1] == "--page"
    assert set(words[6:-1]) == {"--seed", "4", "--temperature", "0.7,0.2", "--keep", "all", "--variations", "2"}
    drums = PlayOptions.of(parts=["drums"])
    assert results.command("song.mid", None, "trio-small", drums) == "python infer.py song.mid --drums-only"
    slow = PlayOptions.of(pace="half")
    assert results.command("song.mid", None, "trio-small", slow) == "python infer.py song.mid --half-time"
    assert results.settings("trio-small", options)["Temperature"] == "0.7,0.2"


def test_the_page_tells_a_command_that_works(infer, short, tmp_path, capsys):
    out = tmp_path / "out"
    infer(short, "--out", out, "--seed", 5, "--page")
    data = json.loads((out / "short.html").read_text().split('id="song">')[1].split("</script>")[0])
    made = (out / "short.mid").read_bytes()
    (out / "short.mid").unlink()
    assert cli.infer(shlex.split(data["command"])[2:]) == 0
    capsys.readouterr()
    assert midi.read(out / "short.mid").data == made
