"""Buckets: what counts as an address, and files that go there and come back, against emulators."""

import os
from pathlib import Path

import emulators
import pytest

from jaxaccomp import cli, files, remote, sending
from jaxaccomp.errors import CheckpointError, RemoteError, UsageError
from jaxaccomp.weights import checkpoint

KINDS = {"gs": emulators.gcs, "s3": emulators.s3}


@pytest.fixture(scope="module", params=KINDS)
def bucket(request, tmp_path_factory):
    """Address of a bucket's folder, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch, KINDS[request.param]() as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield f"{request.param}://{emulators.BUCKET}"


@pytest.mark.parametrize("text", ["a/b", "/a/b", "C:/a", "", "a:b", "gs", "./gs:x"])
def test_paths_of_this_machine_are_paths(text):
    assert remote.path(text) == Path(text)
    assert not remote.is_remote(text)


@pytest.mark.parametrize("text", ["gs://bucket/a", "s3://bucket"])
def test_addresses_of_buckets_stay_whole(text):
    assert os.fspath(remote.path(text)) == text
    assert remote.is_remote(text)


@pytest.mark.parametrize(
    "text", ["gs:/bucket/a", "s3:/a", "gs:///a", "ftp://a/b", "file:///a", "https://a/b", "hdfs://a"]
)
def test_what_only_looks_like_an_address_is_refused(text):
    with pytest.raises(UsageError, match="expected a path of this machine, gs://BUCKET/… or s3://BUCKET/…"):
        remote.path(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "vae", "--data", "ftp://x/y", "--workdir", "run"],
        ["train", "vae", "--data", "data", "--workdir", "hdfs://x/y"],
        ["windows", "songs", "--out", "gs:/x"],
        ["latents", "--windows", "file:///x", "--checkpoint", "c", "--out", "out"],
        ["evaluate", "--data", "az://x/y"],
        ["port", "x.tar", "--out", "hf://x"],
        ["infer", "a.mid", "--out", "sftp://x/y"],
        ["show", "gs://bucket/a.mid"],
        ["merge", "gs://bucket/a", "--out", "b"],
    ],
)
def test_a_foreign_address_is_wrong_usage_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "nothing was written" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_folder_goes_and_comes_back(bucket, tmp_path):
    url = f"{bucket}/folder"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "key").write_text("whole")
    (tmp_path / ".hidden").write_text("stays")
    remote.send(tmp_path, url, last=["key"])
    assert {name: stored.size for name, stored in remote.listing(url).items()} == {"sub/a.txt": 1, "key": 5}
    assert all(stored.md5 for stored in remote.listing(url).values())
    copy = remote.mirror(url, "tests")
    assert (copy / "sub" / "a.txt").read_text() == "a"
    (tmp_path / "sub" / "a.txt").unlink()
    (tmp_path / "b").write_text("b")
    remote.replace_folder(tmp_path, url, "key")
    assert set(remote.listing(url)) == {"key", "b"}
    assert remote.read_text(f"{url}/key") == "whole"
    assert remote.read_text(f"{url}/nothing") is None


def test_files_that_may_wait_come_when_asked_for_and_again_when_they_changed(bucket, tmp_path):
    url = f"{bucket}/lazy"
    for name in ("meta.json", "x.shard-0", "x.shard-1"):
        (tmp_path / name).write_text(name)
    remote.send(tmp_path, url)
    copy = remote.mirror(url, "tests", lazily=".shard-")
    assert [file.name for file in sorted(copy.glob("[!.]*"))] == ["meta.json"]
    assert remote.expected(copy / "x.shard-1")
    assert not remote.expected(copy / "x.shard-2")
    assert remote.ensure(copy / "x.shard-1")
    assert not remote.ensure(copy / "x.shard-2")
    assert (copy / "x.shard-1").read_text() == "x.shard-1"
    assert not (copy / "x.shard-0").exists()
    (tmp_path / "x.shard-1").write_text("X.SHARD-1")  # of the same size
    remote.send(tmp_path, url)
    copy = remote.mirror(url, "tests", lazily=".shard-")
    assert remote.ensure(copy / "x.shard-1")
    assert (copy / "x.shard-1").read_text() == "X.SHARD-1"


def test_what_is_no_checkpoint_is_refused_before_it_is_copied(bucket, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "shard").write_text("large")
    remote.send(tmp_path, f"{bucket}/dataset")
    with pytest.raises(CheckpointError, match=r"dataset: is no checkpoint of this program; it lacks config.json"):
        checkpoint.resolve(f"{bucket}/dataset")
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    remote.send(tmp_path, f"{bucket}/run")
    with pytest.raises(CheckpointError, match=rf"training run; its checkpoint is {bucket}/run/checkpoint"):
        checkpoint.resolve(f"{bucket}/run")
    assert not [name for name in ("dataset", "run") if list(files.cache_folder().glob(f"checkpoints/*-{name}"))]


def test_results_are_taken_up_and_sent(bucket):
    url = f"{bucket}/results"
    with sending.writable(remote.path(url), "tests") as folder:
        (folder / "a.mid").write_text("a")
    with sending.writable(remote.path(url), "tests") as folder:
        assert (folder / "a.mid").read_text() == "a"
        (folder / "b.mid").write_text("b")
    assert set(remote.listing(url)) == {"a.mid", "b.mid"}
    assert remote.here(f"{url}/b.mid", "tests").read_text() == "b"


def test_a_bucket_that_is_not_there_is_said(bucket):
    with pytest.raises(RemoteError, match=r"no-such-bucket.*cannot be reached.*check the bucket's name"):
        remote.listing(bucket.replace(emulators.BUCKET, "no-such-bucket") + "/x")


def test_nothing_at_an_address_is_said(bucket):
    with pytest.raises(RemoteError, match="nothing is there"):
        remote.here(f"{bucket}/nothing", "tests")
