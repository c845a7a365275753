"""A dozen songs and a dozen wrecks through the whole of it, with a model that is tiny and random but real."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from collection_runs import RUN, SONGS, arguments, melody_song, read_entries, run, state

from jaxaccomp import cli
from jaxaccomp.arrays import STEPS
from jaxaccomp.collection import decoders, manifest
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.decoders import DeviceDecoders
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.config import PRESETS, ModelConfig
from jaxaccomp.errors import CheckpointError, CollectionError, ConfigError, UsageError
from jaxaccomp.generate import accompanist
from jaxaccomp.generate.batcher import Batcher, PendingTake
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.music import midi


def test_one_line_for_each_input_and_none_unexplained(folder, straight):
    out, summary = straight
    entries = {entry["input"]: entry for entry in read_entries(out / manifest.NAME)}
    expected = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi")
    }
    assert set(entries) == expected
    assert len(read_entries(out / manifest.NAME)) == len(expected)
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
    for entry in read_entries(out / manifest.NAME)[::4]:
        if entry["status"] == "done":
            (take,) = band.accompany(folder / entry["input"], **RUN)
            assert (out / entry["outputs"][0]).read_bytes() == take.score.data


def test_songs_of_one_content_are_decoded_once(straight):
    out, summary = straight
    entries = [entry for entry in read_entries(out / manifest.NAME) if entry["status"] == "done"]
    assert summary.figures["twins"] == 4
    once = {entry["sha256"]: entry["windows"] for entry in entries}
    assert summary.figures["windows"] == sum(once.values())
    outputs = {}
    for entry in entries:
        outputs.setdefault(entry["sha256"], set()).add((out / entry["outputs"][0]).read_bytes())
    assert all(len(contents) == 1 for contents in outputs.values())


@pytest.mark.slow
def test_nothing_to_do_the_second_time_and_only_what_changed(folder, model, straight, tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(4):
        midi.write(melody_song(i, 4), songs / f"{i}.mid")
    (songs / "bad.mid").write_bytes(b"bad")
    out = tmp_path / "out"
    assert run(songs, model, out).figures["songs"] == 5
    first = state(out)
    assert run(songs, model, out).figures["songs"] == 0
    assert state(out) == first
    midi.write(melody_song(9, 5), songs / "1.mid")
    (out / "2.mid").unlink()
    (songs / "bad.mid").write_bytes((songs / "0.mid").read_bytes())
    again = run(songs, model, out)
    assert again.figures["songs"] == 3
    assert again.counts == {"done": 5}
    assert [e["input"] for e in read_entries(out / manifest.NAME)] == ["0.mid", "1.mid", "2.mid", "3.mid", "bad.mid"]
    assert (out / "bad.mid").read_bytes() == (out / "0.mid").read_bytes()
    assert (out / "2.mid").is_file()
    assert run(songs, model, out, force=True).figures["songs"] == 5
    other = collection.run([songs], out, CollectionConfig(workers=1), checkpoint=model, seed=4)
    assert other.figures["songs"] == 5


def test_links_in_the_output_folder_lead_nowhere_else(folder, model, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir(), elsewhere.mkdir()
    (out / "deep").symlink_to(elsewhere)
    summary = run(folder, model, out)
    assert summary.reasons["failed", "unwritable"] == SONGS // 2
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
def test_strict_and_named_files_exit_with_one(folder, model, tmp_path, capsys):
    assert cli.infer([*arguments(folder / "wrecks", model, tmp_path / "a")[1:], "--strict"]) == 1
    assert cli.infer(arguments(folder / "wrecks", model, tmp_path / "b")[1:]) == 0
    files = [folder / "twin.mid", folder / "wrecks" / "text.mid"]
    named = collection.run(files, tmp_path / "c", CollectionConfig(workers=1), checkpoint=model)
    assert named.exit_code == 1
    assert [e["input"] for e in read_entries(tmp_path / "c" / manifest.NAME)] == ["twin.mid", "wrecks/text.mid"]
    capsys.readouterr()


def test_refusals(folder, model, tmp_path):
    for bad in ({"batch_size": -1}, {"workers": -1}, {"shard": "3/3"}, {"shard": "a/b"}, {"time_limit": 0.0}):
        with pytest.raises(ConfigError, match="must be"):
            CollectionConfig(**bad)
    with pytest.raises(UsageError, match="same folder"):
        run(folder, model, folder)
    with manifest.Manifest(tmp_path / manifest.NAME), pytest.raises(CollectionError, match="another run"):
        run(folder, model, tmp_path)
    with pytest.raises(ConfigError, match="keep"):
        collection.run([folder], tmp_path, checkpoint=model, keep="nothing")


def test_workers_leave_the_cores_to_a_cpu_that_decodes(monkeypatch):
    for cores, expected in ((1, 1), (2, 1), (8, 4)):
        monkeypatch.setattr(collection.os, "cpu_count", lambda cores=cores: cores)
        assert collection.worker_count(CollectionConfig()) == expected
    assert collection.worker_count(CollectionConfig(workers=3)) == 3
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert collection.worker_count(CollectionConfig()) == 8


def test_a_cpu_with_a_narrow_model_works_on_several_batches_at_a_time(model, monkeypatch):
    one = jax.local_devices()[:1]
    monkeypatch.setattr("jax.local_devices", lambda: one)
    assert len(DeviceDecoders.on_all_devices(str(model), PlayOptions()).decoders) == 3
    assert len(DeviceDecoders.on_all_devices(str(model), PlayOptions(dtype="bfloat16")).decoders) == 1


def test_a_model_is_loaded_before_the_first_batch_and_told_of_with_it_if_it_cannot_be(model, tmp_path):
    loading = DeviceDecoders.on_all_devices(str(model), PlayOptions())
    assert loading.takes_any
    loading.prepare()
    copy = tmp_path / "checkpoint"
    shutil.copytree(model, copy)
    broken = DeviceDecoders.on_all_devices(str(copy), PlayOptions())
    shutil.rmtree(copy)
    broken.prepare()
    batcher = Batcher(1, broken.scorer, PlayOptions(candidates=1))
    batcher.add(PendingTake(np.zeros((1, STEPS), np.int32), np.zeros(2, np.uint32)))
    batch = batcher.next_batch()
    with pytest.raises(CheckpointError, match="checkpoint"):
        broken.decoders[0](batch)


@pytest.mark.parametrize(
    ("songs", "preset", "dtype", "expected"),
    [
        (decoders.MANY_SONGS, "tiny", "bfloat16", 1),
        (decoders.MANY_SONGS - 1, "tiny", "bfloat16", 0),
        (decoders.MANY_SONGS, "tiny", "float32", 0),
        (decoders.MANY_SONGS, "hierdec-trio_16bar", "bfloat16", 0),
    ],
)
def test_a_large_collection_has_a_device_for_each_core_where_its_model_leaves_cores_idle(
    monkeypatch, songs, preset, dtype, expected
):
    asked = []
    monkeypatch.setattr(decoders.runtime, "use_device_for_each_core", lambda: asked.append(None))
    decoders.use_all_cores(songs, ModelConfig(musicvae=PRESETS[preset]), PlayOptions(dtype=dtype))
    assert len(asked) == expected
