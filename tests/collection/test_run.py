"""A dozen songs and a dozen wrecks through the whole of it, with a model that is tiny and random but real."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest

from jaxaccomp import cli
from jaxaccomp.collection import manifest
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.collection.songfile import DISK_FULL, Verdict
from jaxaccomp.errors import CollectionError, ConfigError, UsageError
from jaxaccomp.generate import accompanist
from jaxaccomp.music import midi
from jaxaccomp.runtime import VIRTUAL_DEVICES

SONGS = 12
RUN = {"temperature": 1.0, "seed": 3}


def _tune(number, bars):
    """A melody, and every third time a bass and drums to lose."""
    rng = np.random.default_rng(number)
    parts = []
    for name, channel, program, low in (("Lead", 0, 80, 60), ("Bass", 1, 33, 36), ("Drums", 9, 0, 36)):
        if channel and number % 3:
            continue
        notes = np.zeros(bars * 6, midi.NOTE)
        notes["start"] = np.sort(rng.choice(bars * 16, bars * 6, replace=False)) * 120
        notes["end"] = notes["start"] + 110
        notes["pitch"], notes["velocity"] = low + rng.integers(0, 12, bars * 6), 90
        parts.append(midi.Part(name, channel, program, notes))
    metre = [(0, 4, 4), (0, 3, 4), (0, 6, 8)][number % 3]
    return midi.Score.build(480, parts, metres=[metre])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """SONGS songs of 3 to 70 bars, two of them under two names, and everything that can be wrong with a file."""
    root = tmp_path_factory.mktemp("songs")
    for i in range(SONGS):
        path = root / f"{'deep/er' if i % 2 else 'a folder'}" / f"song {i}.{('mid', 'MID', 'midi')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        midi.write(_tune(i, 3 + 67 * i // SONGS), path)
    whole = (root / "a folder" / "song 0.mid").read_bytes()
    (root / "twin.mid").write_bytes(whole)
    (root / "link.mid").symlink_to(root / "deep/er" / "song 1.MID")
    (root / "twin.MID").write_bytes((root / "deep/er" / "song 3.mid").read_bytes())
    wrecks = root / "wrecks"
    wrecks.mkdir()
    (wrecks / os.fsdecode(b"\xe9t\xe9.mid")).write_bytes(whole)
    (wrecks / "empty.mid").write_bytes(b"")
    (wrecks / "text.mid").write_text("This is no music.")
    (wrecks / "cut.mid").write_bytes(whole[: len(whole) // 2])
    (wrecks / "zero.midi").write_bytes(whole[:12] + b"\0\0" + whole[14:])
    (wrecks / "dangling.mid").symlink_to("nowhere")
    (wrecks / "folder.mid").mkdir()
    drums = midi.Part("Drums", 9, 0, _tune(0, 4).track_notes(2))
    midi.write(midi.Score.build(480, [drums]), wrecks / "drums.mid")
    os.mkfifo(wrecks / "pipe.mid")
    return root


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture(scope="module")
def run_command(model):
    """Starts a run in a process of its own."""

    def start(folder, out, *flags, XLA_FLAGS=os.environ["XLA_FLAGS"], **options):
        command = [sys.executable, "-m", "jaxaccomp", *_arguments(folder, model, out), *flags]
        environment = {**os.environ, "XLA_FLAGS": XLA_FLAGS}
        return subprocess.Popen(command, env=environment, **{"stdout": subprocess.DEVNULL, **options})

    return start


@pytest.fixture(scope="module")
def straight(folder, model, tmp_path_factory):
    """The folder after an uninterrupted run on one device, and its summary."""
    out = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        summary = collection.run([folder], out, CollectionConfig(workers=2), checkpoint=model, **RUN)
    return out, summary


def _entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _state(out):
    """Every result by name, and the manifest without its times."""
    files = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and "manifest" not in path.name
    }
    told = [{k: v for k, v in entry.items() if k != "seconds"} for entry in _entries(out / manifest.NAME)]
    return files, told


def _run(folder, model, out, **config):
    return collection.run([folder], out, CollectionConfig(workers=2, **config), checkpoint=model, **RUN)


def _arguments(folder, model, out):
    play = ["--temperature", "1", "--seed", "3"]
    return ["infer", str(folder), "--out", str(out), "--checkpoint", str(model), *play, "--workers", "2"]


def _workers_of(process):
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it may end while one looks
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_one_line_for_each_input_and_none_unexplained(folder, straight):
    out, summary = straight
    entries = {entry["input"]: entry for entry in _entries(out / manifest.NAME)}
    expected = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi")
    }
    assert set(entries) == expected
    assert len(_entries(out / manifest.NAME)) == len(expected)
    codes = {Path(name).stem: entry["code"] for name, entry in entries.items() if entry["status"] != "done"}
    assert codes == {
        "empty": "empty",
        "text": "not-midi",
        "cut": "truncated",
        "zero": "zero-division",
        "dangling": "unreadable",
        "folder": "unreadable",
        "pipe": "unreadable",
        "drums": "no-melody",
    }
    assert all(entry["reason"] for entry in entries.values() if entry["status"] != "done")
    assert summary.counts == {"done": SONGS + 4, "skipped": 1, "failed": 7}
    assert summary.exit_code == 0
    assert "7 failed" in summary.text
    done = [entry for entry in entries.values() if entry["status"] == "done"]
    for entry in done:
        (output,) = entry["outputs"]
        score = midi.read(out / output)
        assert {"Bass", "Drums"} <= {track.name for track in score.tracks}
        assert entry["melody"]["name"] == "Lead"
        assert entry["windows"] >= 1
        assert entry["reason"] is None
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")}
    assert written == {entry["outputs"][0] for entry in done} | {manifest.NAME}
    assert {entry["outputs"][0] for name, entry in entries.items() if name.startswith("twin")} == {
        "twin.mid",
        "twin.MID.mid",
    }


def test_a_collection_plays_what_accompany_plays(folder, model, straight):
    out, _ = straight
    band = accompanist.load(model)
    for entry in _entries(out / manifest.NAME)[::4]:
        if entry["status"] == "done":
            (take,) = band.accompany(folder / entry["input"], **RUN)
            assert (out / entry["outputs"][0]).read_bytes() == take.score.data


def test_songs_of_one_content_are_decoded_once(straight):
    out, summary = straight
    entries = [entry for entry in _entries(out / manifest.NAME) if entry["status"] == "done"]
    assert summary.figures["twins"] == 4
    once = {entry["sha256"]: entry["windows"] for entry in entries}
    assert summary.figures["windows"] == sum(once.values())
    outputs = {}
    for entry in entries:
        outputs.setdefault(entry["sha256"], set()).add((out / entry["outputs"][0]).read_bytes())
    assert all(len(contents) == 1 for contents in outputs.values())


def test_two_devices_and_smaller_batches_change_nothing(folder, model, straight, tmp_path):
    summary = _run(folder, model, tmp_path, batch_size=20)
    assert summary.figures["windows"] > 20, "there is a batch for each device"
    assert _state(tmp_path) == _state(straight[0])


@pytest.mark.slow
def test_eight_devices_change_nothing(run_command, folder, straight, tmp_path):
    flags = f"--{VIRTUAL_DEVICES}=8"
    assert run_command(folder, tmp_path, "--batch-size", "3", XLA_FLAGS=flags).wait() == 0
    assert _state(tmp_path) == _state(straight[0])


@pytest.mark.slow
def test_shards_merge_to_the_whole(folder, model, straight, tmp_path, capsys):
    shared, apart = tmp_path / "shared", [tmp_path / f"host{i}" for i in range(3)]
    for i in range(3):
        _run(folder, model, shared, shard=f"{i}/3")
        assert len(_entries(shared / manifest.NAME)) == sum(map(len, map(_entries, manifest.shards(shared))))
    assert _state(shared) == _state(straight[0])
    assert cli.main(["merge", str(shared)]) == 0
    assert _state(shared) == _state(straight[0])
    for i, source in enumerate(manifest.shards(shared)):
        apart[i].mkdir()
        (apart[i] / source.name).write_bytes(source.read_bytes())
        manifest.gather(source, apart[i])
    assert cli.main(["merge", *map(str, apart), "--out", str(tmp_path / "whole")]) == 0
    assert _state(tmp_path / "whole") == _state(straight[0])
    capsys.readouterr()
    assert cli.main(["merge", str(apart[0]), str(apart[2]), "--out", str(tmp_path / "part")]) == 1
    assert "not there yet: manifest-1-of-3.jsonl" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_to_do_the_second_time_and_only_what_changed(folder, model, straight, tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(4):
        midi.write(_tune(i, 4), songs / f"{i}.mid")
    (songs / "bad.mid").write_bytes(b"bad")
    out = tmp_path / "out"
    assert _run(songs, model, out).figures["songs"] == 5
    first = _state(out)
    assert _run(songs, model, out).figures["songs"] == 0
    assert _state(out) == first
    midi.write(_tune(9, 5), songs / "1.mid")
    (out / "2.mid").unlink()
    (songs / "bad.mid").write_bytes((songs / "0.mid").read_bytes())
    again = _run(songs, model, out)
    assert again.figures["songs"] == 3
    assert again.counts == {"done": 5}
    assert [e["input"] for e in _entries(out / manifest.NAME)] == ["0.mid", "1.mid", "2.mid", "3.mid", "bad.mid"]
    assert (out / "bad.mid").read_bytes() == (out / "0.mid").read_bytes()
    assert (out / "2.mid").is_file()
    assert _run(songs, model, out, force=True).figures["songs"] == 5
    other = collection.run([songs], out, CollectionConfig(workers=1), checkpoint=model, seed=4)
    assert other.figures["songs"] == 5


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_nothing(folder, run_command, straight, tmp_path):
    rng = random.Random(1)
    out, lived = tmp_path / "out", 0
    for attempt in range(4):
        process = run_command(folder, out)
        lines, deadline_s = rng.randrange(8 * attempt, 8 * attempt + 4) - 4, time.monotonic() + 240
        book = out / manifest.NAME
        while process.poll() is None and time.monotonic() < deadline_s:
            if book.is_file() and book.read_bytes().count(b"\n") > lines:
                time.sleep(rng.random() * 0.05)
                break
            time.sleep(0.002)
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        lived += process.wait() == -signal.SIGKILL
        _, alive = psutil.wait_procs(workers, timeout=120)  # those that still start see it when they have
        assert not alive, "workers end with the run"
    assert lived >= 2
    assert run_command(folder, out).wait() == 0
    assert _state(out) == _state(straight[0])
    assert not list(out.glob(".staging*"))


@pytest.mark.slow
def test_workers_killed_at_any_moment_cost_nothing(folder, run_command, straight, tmp_path):
    process = run_command(folder, tmp_path, stdout=subprocess.PIPE, text=True)
    rng, killed = random.Random(2), 0
    while process.poll() is None and killed < 4:
        workers = _workers_of(process)
        if len(workers) == 2:
            rng.choice(workers).kill()
            killed += 1
        time.sleep(0.2 + rng.random() * 0.2)
    text, _ = process.communicate()
    assert process.returncode == 0
    assert killed >= 2
    assert "worker processes died" in text
    assert run_command(folder, tmp_path).wait() == 0
    assert _state(tmp_path) == _state(straight[0])


def test_a_full_disk_ends_with_a_sentence_and_resumes(folder, model, straight, tmp_path, monkeypatch):
    out = tmp_path / "out"
    full = collection.Workers

    class DiskFullAfterThree(full):
        written = 0

        def results(self, *args, **kwargs):
            for job, result in super().results(*args, **kwargs):
                if job.function.__name__ == "write":
                    type(self).written += 1
                    if self.written > 3:
                        result = Verdict("failed", DISK_FULL, "out: No space left on device; free")
                yield job, result

    monkeypatch.setattr(collection, "Workers", DiskFullAfterThree)
    with pytest.raises(CollectionError, match="No space left"):
        _run(folder, model, out)
    monkeypatch.undo()
    _run(folder, model, out)
    assert _state(out) == _state(straight[0])


def test_links_in_the_output_folder_lead_nowhere_else(folder, model, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir(), elsewhere.mkdir()
    (out / "deep").symlink_to(elsewhere)
    summary = _run(folder, model, out)
    assert summary.reasons["failed", "unwritable"] == SONGS // 2
    assert not list(elsewhere.iterdir())


def test_strict_and_named_files_exit_with_one(folder, model, tmp_path, capsys):
    assert cli.infer([*_arguments(folder / "wrecks", model, tmp_path / "a")[1:], "--strict"]) == 1
    assert cli.infer(_arguments(folder / "wrecks", model, tmp_path / "b")[1:]) == 0
    files = [folder / "twin.mid", folder / "wrecks" / "text.mid"]
    named = collection.run(files, tmp_path / "c", CollectionConfig(workers=1), checkpoint=model)
    assert named.exit_code == 1
    assert [e["input"] for e in _entries(tmp_path / "c" / manifest.NAME)] == ["twin.mid", "wrecks/text.mid"]
    capsys.readouterr()


def test_refusals(folder, model, tmp_path):
    for bad in ({"batch_size": -1}, {"workers": -1}, {"shard": "3/3"}, {"shard": "a/b"}, {"time_limit": 0.0}):
        with pytest.raises(ConfigError, match="must be"):
            CollectionConfig(**bad)
    with pytest.raises(UsageError, match="same folder"):
        _run(folder, model, folder)
    with manifest.Manifest(tmp_path / manifest.NAME), pytest.raises(CollectionError, match="another run"):
        _run(folder, model, tmp_path)
    with pytest.raises(ConfigError, match="keep"):
        collection.run([folder], tmp_path, checkpoint=model, keep="nothing")


@pytest.mark.slow
def test_beam_plays_the_same(folder, run_command, straight, tmp_path):
    flags = ["--beam-runner", "DirectRunner"]
    flags += ["--beam-options", "--direct_running_mode=multi_processing --direct_num_workers=2"]
    assert run_command(folder, tmp_path, *flags).wait() == 0
    assert _state(tmp_path) == _state(straight[0])
