"""Devices, shares and Beam play what one device plays."""

import pytest
from collection_runs import read_entries, run, state

from jaxaccomp import cli
from jaxaccomp.collection import manifest
from jaxaccomp.runtime import VIRTUAL_DEVICES


@pytest.mark.slow
def test_two_devices_and_smaller_batches_change_nothing(folder, model, straight, tmp_path):
    summary = run(folder, model, tmp_path, batch_size=20)
    assert summary.figures["windows"] > 20, "there is a batch for each device"
    assert state(tmp_path) == state(straight[0])


@pytest.mark.slow
def test_eight_devices_change_nothing(run_command, folder, straight, tmp_path):
    flags = f"--{VIRTUAL_DEVICES}=8"
    assert run_command(folder, tmp_path, "--batch-size", "3", XLA_FLAGS=flags).wait() == 0
    assert state(tmp_path) == state(straight[0])


@pytest.mark.slow
def test_shards_merge_to_the_whole(folder, model, straight, tmp_path, capsys):
    shared, apart = tmp_path / "shared", [tmp_path / f"host{i}" for i in range(3)]
    for i in range(3):
        run(folder, model, shared, shard=f"{i}/3")
        assert len(read_entries(shared / manifest.NAME)) == sum(map(len, map(read_entries, manifest.shards(shared))))
    assert state(shared) == state(straight[0])
    assert cli.main(["merge", str(shared)]) == 0
    assert state(shared) == state(straight[0])
    for i, source in enumerate(manifest.shards(shared)):
        apart[i].mkdir()
        (apart[i] / source.name).write_bytes(source.read_bytes())
        manifest.gather(source, apart[i])
    assert cli.main(["merge", *map(str, apart), "--out", str(tmp_path / "whole")]) == 0
    assert state(tmp_path / "whole") == state(straight[0])
    capsys.readouterr()
    assert cli.main(["merge", str(apart[0]), str(apart[2]), "--out", str(tmp_path / "part")]) == 1
    assert "not there yet: manifest-1-of-3.jsonl" in capsys.readouterr().err


@pytest.mark.slow
def test_beam_plays_the_same(folder, run_command, straight, tmp_path):
    flags = ["--beam-runner", "DirectRunner"]
    flags += ["--beam-options", "--direct_running_mode=multi_processing --direct_num_workers=2"]
    assert run_command(folder, tmp_path, *flags).wait() == 0
    assert state(tmp_path) == state(straight[0])
