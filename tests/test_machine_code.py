"""Where machine code is kept between processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxaccomp import files, locks, machine_code
from jaxaccomp.errors import JaxAccompError

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import loop
print(loop.double(21), sum(loop.double.stats.cache_hits.values()))
"""
SOURCE = """
from jaxaccomp.machine_code import compiled
@compiled
def double(x):
    return 2 * x
"""


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "loop.py").write_text(SOURCE)
    return folder


def _run(package: Path, **variables: str) -> list[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "JAXACCOMP_CACHE")
    }
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, "-c", PROGRAM, str(package)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def _kept(folder: Path) -> bool:
    return any(folder.rglob("*.nbi"))


@pytest.mark.skipif(sys.platform == "darwin", reason="its caches lie in ~/Library")
def test_it_lies_beside_jaxs_programs_and_never_in_the_package(package, tmp_path):
    cache = tmp_path / "cache"
    assert _run(package, XDG_CACHE_HOME=str(cache)) == ["42", "0"]
    assert _kept(cache / "jaxaccomp" / "compiled" / "numba")
    assert [path.name for path in package.iterdir()] == ["loop.py"]
    assert _run(package, XDG_CACHE_HOME=str(cache)) == ["42", "1"]


def test_the_users_folders_go_first(package, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    _run(package, NUMBA_CACHE_DIR=str(theirs), **{files.COMPILATION_CACHE: str(ours)})
    assert _kept(theirs)
    assert not _kept(ours)
    _run(package, **{files.COMPILATION_CACHE: str(ours)})
    assert _kept(ours)


def test_turned_off_nothing_is_kept(package, tmp_path):
    assert _run(package, XDG_CACHE_HOME=str(tmp_path / "cache"), **{files.COMPILATION_CACHE: "off"}) == ["42", "0"]
    assert not _kept(tmp_path)


def test_a_folder_that_cannot_be_made_is_no_error(package, tmp_path):
    (tmp_path / "file").touch()
    assert _run(package, **{files.COMPILATION_CACHE: str(tmp_path / "file" / "below")}) == ["42", "0"]


def test_one_process_saves_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    refused = []

    def save(self, key, data):
        with (
            pytest.raises(JaxAccompError, match="another run is writing there"),
            locks.locked(tmp_path, JaxAccompError),
        ):
            pass
        refused.append(key)

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", save)

    def double(x):
        return 2 * x

    assert machine_code.compiled(double)(21) == 42
    assert refused
    assert not (tmp_path / ".lock").exists()
