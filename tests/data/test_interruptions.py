"""A run that is killed in the middle of any stage, and started again, ends with the bytes of an undisturbed one."""

import signal
import subprocess
import sys

import pytest

DYING = """
import os, signal, sys
from pathlib import Path

def dying(function, calls):
    left = [calls]
    def wrapped(*arguments, **settings):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **settings)
    return wrapped

what, source, out, checkpoint = sys.argv[1:]
from jaxaccomp.data import shards, staging, windows

def here(function, jobs, limit_s):
    return ((job, function(job)) for job in jobs)

if what == "reading":
    staging.write = dying(staging.write, 5)
elif what == "half an archive":
    staging.os.replace = dying(os.replace, 5)
elif what == "planning":
    windows._plan = dying(windows._plan, 0)
elif what == "a shard":
    windows._examples = (lambda examples: lambda job: map(dying(lambda e: e, 2), examples(job)))(windows._examples)
elif what == "between shards":
    shards.write_shard = dying(shards.write_shard, 4)
elif what == "metadata":
    shards.write_metadata = dying(shards.write_metadata, 0)
elif what == "last rename":
    Path.rename = dying(Path.rename, 0)
if checkpoint == "-":
    from jaxaccomp.data.staging import WindowsConfig
    windows.build(Path(source), Path(out), WindowsConfig(), shard_count=3, engine=here)
else:
    from jaxaccomp.data import latents
    if what == "a latents shard":
        latents._finished = dying(latents._finished, 3)
    latents.build(source, checkpoint, Path(out), batch_size=4, shard_count=4)
"""


def run(what: str, *arguments) -> int:
    command = [sys.executable, "-c", DYING, what, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True).returncode


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_windows(corpus, windows_folder, tmp_path):
    """One run that dies seven times, each time further on."""
    stages = ["reading", "half an archive", "planning", "a shard", "between shards", "metadata", "last rename"]
    for stage in stages:
        assert run(stage, corpus, tmp_path, "-") == -signal.SIGKILL, stage
        assert not (tmp_path / "trio_windows" / "1.0.0").exists(), stage
    assert run("nothing", corpus, tmp_path, "-") == 0
    assert contents(tmp_path) == contents(windows_folder)


@pytest.mark.slow
def test_latents(windows_folder, latents_folder, tiny, tmp_path):
    for stage in ["a latents shard", "last rename"]:
        assert run(stage, windows_folder, tmp_path, tiny) == -signal.SIGKILL, stage
        assert not (tmp_path / "trio_latents" / "1.0.0").exists(), stage
    assert run("nothing", windows_folder, tmp_path, tiny) == 0
    assert contents(tmp_path) == contents(latents_folder)
