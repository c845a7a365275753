"""Where compiled programs are kept, and that the user's word goes before ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxaccomp import files, runtime


def test_the_variable_names_the_folder_or_turns_it_off(monkeypatch, tmp_path):
    monkeypatch.setenv(files.COMPILATION_CACHE, str(tmp_path))
    assert files.compilation_cache() == tmp_path
    for word in ("off", "OFF", "", "0"):
        monkeypatch.setenv(files.COMPILATION_CACHE, word)
        assert files.compilation_cache() is None


@pytest.mark.skipif(sys.platform == "darwin", reason="its caches lie in ~/Library")
def test_by_default_it_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(files.COMPILATION_CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.compilation_cache() == tmp_path / "jaxaccomp" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.compilation_cache() == Path.home() / ".cache" / "jaxaccomp" / "compiled"


_PROGRAM = """
import json, sys
from jaxaccomp.runtime import use_compilation_cache
import jax
if sys.argv[1] != "-":
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
use_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x @ x + 7)(jax.numpy.ones((3, 3))).block_until_ready()
print(json.dumps(jax.config.jax_compilation_cache_dir))
"""


def _run(monkeypatch, ours, theirs):
    monkeypatch.setenv(files.COMPILATION_CACHE, str(ours))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)  # tests of training share their programs there
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(theirs)], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)


def test_compiled_programs_land_there(monkeypatch, tmp_path):
    assert _run(monkeypatch, tmp_path / "ours", "-") == str(tmp_path / "ours")
    assert any((tmp_path / "ours").iterdir())


def test_a_folder_the_caller_told_jax_stays(monkeypatch, tmp_path):
    assert _run(monkeypatch, tmp_path / "ours", tmp_path / "theirs") == str(tmp_path / "theirs")
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert _run(monkeypatch, tmp_path / "file" / "below", "-") is None


_CORES = """
import sys, jax
from jaxaccomp.runtime import use_device_for_each_core
if sys.argv[1] == "started":
    jax.devices()
use_device_for_each_core()
print(jax.local_device_count())
"""


@pytest.mark.parametrize(
    ("state", "flags", "expected"),
    [
        ("fresh", "", min(8, len(os.sched_getaffinity(0)))),
        ("started", "", 1),
        ("fresh", f"--{runtime.VIRTUAL_DEVICES}=3", 3),
    ],
)
def test_each_core_becomes_a_device_unless_it_is_too_late_or_others_said_how_many(state, flags, expected):
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _CORES, state]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == str(expected), run.stderr
