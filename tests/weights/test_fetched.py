"""Checkpoints on a web server: what arrives is what lies there, or a sentence says why not."""

import functools
import http.server
import json
import threading
from pathlib import Path

import emulators
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxaccomp.config import ModelConfig
from jaxaccomp.errors import CheckpointError, DownloadError
from jaxaccomp.weights import checkpoint, download, fetched


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; breaks off in the middle of the names in `cut`."""

    cut: frozenset[str] = frozenset()

    def copyfile(self, source, outputfile):
        if Path(self.path).name in self.cut:
            outputfile.write(source.read()[:-1])
            self.close_connection = True
        else:
            super().copyfile(source, outputfile)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(odd_config, tmp_path, monkeypatch):
    """A checkpoint's folder and the address it is served at."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    shapes = checkpoint.shapes_of(ModelConfig(musicvae=odd_config))
    random = np.random.default_rng(0)
    params = unflatten_dict(
        {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}, sep="/"
    )
    folder = checkpoint.save(tmp_path / "site" / "band", odd_config, params["musicvae"])
    fetched._from_server.cache_clear()
    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/band"
        server.shutdown()
    fetched._from_server.cache_clear()


def again(url: str) -> Path:
    """Fetches as a process of its own would."""
    fetched._from_server.cache_clear()
    return checkpoint.resolve(url)


def test_a_checkpoint_arrives_whole(site):
    folder, url = site
    (folder / "directions.json").write_text("{}")
    for address in (url, f"{url}/", f"{url}/config.json"):
        here = again(address)
        assert checkpoint.fingerprint(here) == checkpoint.fingerprint(folder)
        assert (here / "directions.json").read_text() == "{}"
    assert {file.relative_to(here) for file in here.rglob("*")} == {f.relative_to(folder) for f in folder.rglob("*")}


def test_a_damaged_copy_is_fetched_anew(site):
    folder, url = site
    here = again(url)
    file = max((here / "arrays").rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoint.fingerprint(again(url)) == checkpoint.fingerprint(folder)
    assert file.read_bytes() == content


def test_what_arrives_damaged_or_in_part_is_refused_and_not_kept(site, monkeypatch):
    folder, url = site
    largest = max((folder / "arrays").rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
    content = largest.read_bytes()
    monkeypatch.setattr(Handler, "cut", frozenset({largest.name}))
    with pytest.raises(DownloadError, match=r"cannot be fetched \(the connection was closed early"):
        again(url)
    monkeypatch.setattr(Handler, "cut", frozenset())
    largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DownloadError, match=f"{largest.name}: arrived damaged; try again"):
        again(url)
    largest.write_bytes(content)
    here = again(url)
    assert (here / "arrays" / largest.relative_to(folder / "arrays")).read_bytes() == content


def test_what_is_no_checkpoint_is_said(site):
    folder, url = site
    with pytest.raises(DownloadError, match=r"/nothing/config.json: cannot be fetched \(File not found\)"):
        again(url.replace("band", "nothing"))
    with pytest.raises(DownloadError, match=r"cannot be fetched .*; give the address of a checkpoint's folder"):
        again("http://127.0.0.1:port/band")
    with pytest.raises(DownloadError, match=r"cannot be fetched .*refused"):
        again(f"http://127.0.0.1:{emulators.free_port()}/band")
    record = json.loads((folder / "config.json").read_text())
    for text in ("[]", "{}", "no JSON"):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match="is no checkpoint's record"):
            again(url)
    for name in ("../../../outside", "/outside"):
        (folder / "config.json").write_text(json.dumps(record | {"files": {name: 1}}))
        with pytest.raises(CheckpointError, match="lies outside; do not use it"):
            again(url)
