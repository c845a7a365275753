import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxaccomp.data import shards
from jaxaccomp.errors import DatasetError

PLAIN_SCRIPT = """
import sys
import tensorflow_datasets as tfds
for folder in sys.argv[1:]:
    for split, examples in tfds.builder_from_directory(folder).as_data_source().items():
        example = examples[len(examples) - 1]
        shown = {name: (str(value.dtype), value.shape) for name, value in example.items() if hasattr(value, "shape")}
        print(split, len(examples), example["song"].decode(), sorted(shown))
assert "tensorflow" not in sys.modules
"""


@pytest.fixture
def copy(windows_folder, tmp_path):
    """A copy of the windows that may be damaged."""
    return shutil.copytree(windows_folder, tmp_path / "copy") / "trio_windows" / shards.VERSION


def test_tfds_reads_both_datasets_in_a_plain_script_without_tensorflow(windows_folder, latents_folder):
    folders = [shards.find(windows_folder), shards.find(latents_folder)]
    ran = subprocess.run([sys.executable, "-c", PLAIN_SCRIPT, *map(str, folders)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 3) for line in ran.stdout.splitlines()]
    assert [line[0] for line in lines] == ["train", "validation", "test"] * 2
    for line, folder in zip(lines, [folders[0]] * 3 + [folders[1]] * 3, strict=True):
        data = shards.open_split(folder, line[0])
        assert int(line[1]) == len(data)
        assert line[2] == data.songs[-1]["song"]


@pytest.mark.filterwarnings("ignore:label:DeprecationWarning")  # TFDS's own, of protobuf
def test_tfds_and_our_reader_agree(windows_folder):
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(shards.find(windows_folder)).as_data_source()["train"]
    data = shards.open_split(windows_folder, "train", memory_bytes=0)
    mine = data.read(range(len(data)))
    for row in range(len(data)):
        theirs = source[row]
        for name, column in mine.items():
            assert np.array_equal(theirs[name], column[row]), (row, name)
            assert column.ndim == 1 or theirs[name].dtype == column.dtype


def test_rows_are_the_same_from_memory_and_from_disk(windows_folder):
    memory, disk = (shards.open_split(windows_folder, "train", size) for size in (1 << 30, 0))
    rows = np.random.default_rng(0).permutation(len(memory))
    assert np.array_equal(memory.take(rows)["tokens"], disk.take(rows)["tokens"])
    part = disk.read(range(3, 11), ("bar", "tokens"))
    assert sorted(part) == ["bar", "tokens"]
    assert np.array_equal(part["tokens"], memory.take(np.arange(3, 11))["tokens"])


def scramble(file):
    """Other bytes in the middle of the examples."""
    data = bytearray(file.read_bytes())
    data[500:1500] = bytes(1000)
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: next(folder.glob("*train*")).unlink(), "1 shards are missing, first trio_windows-train"),
        (lambda folder: next(folder.glob("*train*")).write_bytes(b"x" * 70000), "holds 0 examples, expected"),
        (lambda folder: scramble(next(folder.glob("*train*"))), "not a readable shard"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "the metadata is damaged"),
        (lambda folder: (folder / "features.json").write_text("{}"), "features.json is damaged"),
        (lambda folder: (folder / "songs.jsonl").write_text(""), "songs.jsonl tells of 0 examples in 'train'"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "no finished dataset here"),
        (
            lambda folder: shutil.copy(*sorted(folder.glob("*validation*"))[:1], sorted(folder.glob("*train*"))[0]),
            "holds 1 examples, expected",
        ),
    ],
)
def test_a_damaged_dataset_is_told_by_name(copy, damage, told):
    damage(copy)
    with pytest.raises(DatasetError, match=told):
        shards.open_split(copy, "train")


def test_a_split_that_is_not_there_is_named(copy):
    with pytest.raises(DatasetError, match="no split 'dev'; there are train, validation, test"):
        shards.open_split(copy, "dev")


def test_a_dataset_is_found_from_any_of_its_folders(windows_folder, latents_folder, tmp_path):
    folder = windows_folder / "trio_windows" / shards.VERSION
    assert shards.find(windows_folder) == shards.find(windows_folder / "trio_windows") == shards.find(folder) == folder
    shutil.copytree(windows_folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(latents_folder, tmp_path, dirs_exist_ok=True)
    with pytest.raises(DatasetError, match=r"several datasets here \(trio_latents/1.0.0, trio_windows/1.0.0\)"):
        shards.find(tmp_path)


def test_shards_are_as_equal_as_can_be():
    assert shards.lengths(10, 3, 99) == [4, 3, 3]
    assert shards.lengths(10, None, 4) == [4, 3, 3]
    assert shards.lengths(2, 5, 99) == [1, 1]
    assert shards.lengths(0, 5, 99) == []


def test_metadata_tells_how_the_windows_were_made(windows_folder):
    metadata = json.loads((shards.find(windows_folder) / "metadata.json").read_text())
    assert metadata["hop"] == 1
    assert metadata["shards"] == 3
