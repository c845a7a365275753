"""Pages, pictures and sounds of a collection: made by workers, once, and listed in an index."""

import json
import os

import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.collection import reports as reports_
from jaxaccomp.collection.reports import Reports, make
from jaxaccomp.music.midi import NOTE, Part, Score


def part(name, channel, program, pitch):
    notes = np.zeros(4, NOTE)
    notes["start"], notes["pitch"], notes["velocity"] = 480 * np.arange(4), pitch, 80
    notes["end"] = notes["start"] + 400
    return Part(name, channel, program, notes)


@pytest.fixture
def folders(tmp_path):
    """Two songs and their results, and the manifest's entries."""
    entries = []
    for name in ("a/one.mid", "two.MID"):
        song, output = tmp_path / "songs" / name, name.rsplit(".")[0] + ".mid"
        song.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / output).parent.mkdir(parents=True, exist_ok=True)
        Score.build(480, [part("Lead", 0, 73, 72)]).write(song)
        Score.build(480, [part("Lead", 0, 73, 72), part("Bass", 1, 33, 36)]).write(tmp_path / "out" / output)
        melody = {"track": 0, "name": "Lead", "why": "called 'Lead'"}
        scores = {"bass_in_key": 1.0}
        entries.append({"input": name, "status": "done", "outputs": [output], "melody": melody, "scores": scores})
    entries.append({"input": "bad.mid", "status": "failed", "outputs": [], "code": "truncated"})
    return tmp_path / "songs", tmp_path / "out", entries


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_everything_asked_for_is_made_once(folders):
    root, out, entries = folders
    asked = Reports(plots=True, sounds=True, pages=1, settings={"Seed": "3"}, command="again")
    assert make(entries, root, out, asked, workers=1) == (2, {})
    assert names(out) == ["a/one.html", "a/one.mid", "a/one.mp3", "a/one.png", "two.mid", "two.mp3", "two.png"]
    text = (out / "a/one.html").read_text()
    assert '"label":"Bass notes in key"' in text
    assert '"command":"again"' in text
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert make(entries, root, out, asked, workers=1) == (0, {})
    (out / "two.png").unlink()
    os.utime(out / "a/one.mid")  # played anew
    assert make(entries, root, out, asked, workers=1) == (2, {})
    after = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert {name for name in before if after[name] == before[name]} == {"two.mid", "two.mp3"}


def test_what_cannot_be_made_costs_the_others_nothing(folders):
    root, out, entries = folders
    (root / "a/one.mid").write_bytes(b"MThd")
    made, failures = make(entries, root, out, Reports(plots=True), workers=1)
    assert made == 1
    assert list(failures) == ["a/one.mid"]
    assert "one.mid" in failures["a/one.mid"]
    assert (out / "two.png").exists()


def test_pages_may_be_asked_for_by_number_or_name(folders):
    root, out, entries = folders

    def asked(pages):
        tasks = reports_._tasks(entries, root, out, Reports(pages=pages))
        return [name for name, task in tasks if task.page is not None]

    assert asked(None) == asked(0) == []
    assert asked(1) == ["a/one.mid"]
    assert asked(100) == ["a/one.mid", "two.MID"]
    assert asked("two") == asked("TWO.mid") == asked("t*") == ["two.MID"]


@pytest.mark.slow
def test_infer_makes_pages_and_an_index_of_a_folder(folders, tiny_checkpoint, tmp_path, capsys):
    root, _, _ = folders
    out = tmp_path / "new"
    flags = ["--checkpoint", str(tiny_checkpoint), "--fast", "--page", "--pages", "two", "--plot", "--workers", "1"]
    assert cli.infer([str(root), "--out", str(out), *flags]) == 0
    said = capsys.readouterr().out
    assert "2 songs: 2 done" in said
    assert "reports of 2 songs" in said
    assert f"index   {out / 'index.html'}" in said
    made = [name for name in names(out) if not name.startswith(".")]
    assert made == ["a/one.mid", "a/one.png", "index.html", "manifest.jsonl", "two.html", "two.mid", "two.png"]
    index = (out / "index.html").read_text()
    assert '["page","two.html"]' in index
    assert cli.infer([str(root), "--out", str(out), *flags, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["songs"]["done"] == 2


@pytest.mark.slow
def test_folders_get_several_takes_of_each_song(folders, tiny_checkpoint, tmp_path, capsys):
    root, _, _ = folders
    out = tmp_path / "new"
    (root / "copy.mid").write_bytes((root / "two.MID").read_bytes())
    flags = ["--checkpoint", str(tiny_checkpoint), "--fast", "--temperature", "1", "--workers", "1", "--quiet"]
    assert cli.infer([str(root), "--out", str(out), *flags]) == 0
    first = (out / "two.mid").read_bytes()
    assert cli.infer([str(root), "--out", str(out), *flags, "--variations", "2"]) == 0
    made = [name for name in names(out) if not name.startswith(".") and name.endswith(".mid")]
    takes = ["a/one.mid", "a/one.take2.mid", "copy.mid", "copy.take2.mid", "two.mid", "two.take2.mid"]
    assert made == takes
    assert (out / "two.mid").read_bytes() == first != (out / "two.take2.mid").read_bytes()
    assert (out / "two.take2.mid").read_bytes() == (out / "copy.take2.mid").read_bytes()
    entries = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [entry["outputs"] for entry in entries] == [takes[:2], takes[2:4], takes[4:]]
    alone = tmp_path / "alone"
    assert cli.infer([str(root / "two.MID"), "--out", str(alone), "--variations", "2", *flags[:-3], "--quiet"]) == 0
    assert (alone / "two.take2.mid").read_bytes() == (out / "two.take2.mid").read_bytes()
    before = {name: (out / name).stat().st_mtime_ns for name in made}
    assert cli.infer([str(root), "--out", str(out), *flags, "--variations", "2"]) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in made} == before
    (root / "two.take2.mid").write_bytes((root / "two.MID").read_bytes())
    assert cli.infer([str(root), "--out", str(out), *flags, "--variations", "2"]) == 2
    assert "would be called two.take2.mid, like the result of another song" in capsys.readouterr().err
