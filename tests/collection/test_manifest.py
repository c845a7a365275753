import json
import os

import pytest

from jaxaccomp import files
from jaxaccomp.collection import manifest
from jaxaccomp.collection.manifest import Manifest
from jaxaccomp.errors import CollectionError


def _entry(name, status="done", **more):
    return {"input": name, "status": status, "reason": None, "sha256": f"{abs(hash(name)):064x}"[-64:], **more}


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_later_entry_replaces_and_finish_sorts(tmp_path):
    path = tmp_path / "out" / manifest.NAME
    with Manifest(path) as book:
        for name, status in (("b", "failed"), ("c", "done"), ("b", "done"), ("a", "skipped")):
            book.append(_entry(name, status))
        assert book.entry("b")["status"] == "done"
        assert len(_lines(path)) == 4, "each is on disk as soon as it is told"
        book.finish(["a", "b", "c"])
        assert [(e["input"], e["status"]) for e in _lines(path)] == [("a", "skipped"), ("b", "done"), ("c", "done")]
        book.append(_entry("d"))
        assert book.entry("d")["input"] == "d"
        assert "a" in book
    assert len(list(manifest.read(path))) == 4


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_line_is_forgotten(tmp_path, cut):
    path = tmp_path / manifest.NAME
    with Manifest(path) as book:
        book.append(_entry("a"))
        book.append(_entry("b"))
    os.truncate(path, path.stat().st_size - cut)
    with Manifest(path) as book:
        assert "a" in book
        assert "b" not in book
        book.append(_entry("c"))
    assert [e["input"] for e in _lines(path)] == ["a", "c"]


def test_damage_in_the_middle_costs_that_line_alone(tmp_path):
    path = tmp_path / manifest.NAME
    with Manifest(path) as book:
        for name in "abc":
            book.append(_entry(name))
    raw = path.read_bytes().split(b"\n")
    raw[1] = b"\0" * len(raw[1])
    path.write_bytes(b"\n".join(raw))
    with Manifest(path) as book:
        assert [name in book for name in "abc"] == [True, False, True]
        assert book.entry("c")["input"] == "c"


def test_entries_of_songs_that_left_stay_while_their_results_do(tmp_path):
    (tmp_path / "kept.mid").write_bytes(b"x")
    with Manifest(tmp_path / manifest.NAME) as book:
        book.append(_entry("kept", outputs=["kept.mid"]))
        book.append(_entry("gone", outputs=["gone.mid"]))
        book.append(_entry("bad", "failed", outputs=[]))
        book.finish(["here"])
        assert [name in book for name in ("kept", "gone", "bad")] == [True, False, False]


def test_a_second_run_is_refused(tmp_path):
    path = tmp_path / manifest.NAME
    with Manifest(path), pytest.raises(CollectionError, match="another run"):
        Manifest(path)
    Manifest(path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectionError, match="cannot be written"):
        Manifest(tmp_path / "file" / manifest.NAME)


def test_a_duplicate_is_found_by_content(tmp_path):
    with Manifest(tmp_path / manifest.NAME) as book:
        book.append(_entry("a"))
        book.append(_entry("b", "failed"))
        assert book.duplicate(_entry("a")["sha256"])["input"] == "a"
        assert book.duplicate(_entry("b")["sha256"]) is None


def test_a_full_disk_is_one_sentence_and_no_loss(tmp_path):
    path = tmp_path / manifest.NAME
    manifest.replace(path, [_entry("a")])
    files.temporary_path(path).symlink_to("/dev/full")
    with pytest.raises(CollectionError, match=r"No space left.*same command"):
        manifest.replace(path, [_entry("b")])
    assert [e["input"] for e in _lines(path)] == ["a"]
    assert list(tmp_path.iterdir()) == [path]


def test_merge(tmp_path):
    for i, names in enumerate(("ad", "b", "ce")):
        with Manifest(tmp_path / manifest.shard_name(i, 3)) as book:
            for name in names:
                book.append(_entry(name, n=i))
    shards = manifest.shards(tmp_path)
    assert [path.name for path in shards] == [f"manifest-{i}-of-3.jsonl" for i in range(3)]
    assert manifest.missing_shards(shards[:2]) == ["manifest-2-of-3.jsonl"]
    assert manifest.merge(shards, tmp_path / manifest.NAME) == {"done": 5}
    assert [e["input"] for e in _lines(tmp_path / manifest.NAME)] == list("abcde")
    with Manifest(tmp_path / "late.jsonl") as book:
        book.append(_entry("a", "failed"))
        book.append(_entry("f", "failed"))
    assert manifest.merge([*shards, tmp_path / "late.jsonl"], tmp_path / "all.jsonl") == {"done": 5, "failed": 1}
