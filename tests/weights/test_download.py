import hashlib
import http.server
import threading

import numpy as np
import pytest

from jaxaccomp.errors import DownloadError
from jaxaccomp.weights import download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, as well or as badly as a test asks.

    Attributes:
        content: the file's bytes.
        tag: its ETag; None sends none.
        ranges: whether it answers Range requests.
        cut_after: bytes after which a connection is dropped, one for each coming answer.
        failures: how many coming answers are a 503.
        asked: the Range header of each request.
    """

    content, tag, ranges = CONTENT, '"one"', True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after, self.failures, self.asked = [], 0, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/models/trio.tar"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.failures:
            server.failures -= 1
            return self.send_error(503)
        if not self.path.startswith("/models/trio.tar"):
            return self.send_error(404)
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server, folder, **options):
    return download.fetch(server.url, folder, pause_s=0.001, **options)


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    file = fetch(server, tmp_path / "new", sha256=SHA256.upper())
    assert file == tmp_path / "new" / "trio.tar"
    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["trio.tar"]
    fetch(server, tmp_path / "new", sha256=SHA256)
    assert server.asked == [None]


def test_broken_connections_are_taken_up_where_they_broke(server, tmp_path):
    server.cut_after = [1_000_000, 500_000]
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_continues_an_earlier_one(server, tmp_path):
    server.cut_after = [300_000] * download.ATTEMPTS
    with pytest.raises(DownloadError, match=r"cannot be fetched .* repeat the command, which continues"):
        fetch(server, tmp_path)
    assert (tmp_path / "trio.tar.part").stat().st_size == 300_000 * download.ATTEMPTS
    assert not (tmp_path / "trio.tar").exists()
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={300_000 * download.ATTEMPTS}-"


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server, tmp_path):
    server.cut_after = [400_000] * download.ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(server, tmp_path)
    server.tag, server.content = '"two"', CONTENT[::-1]
    assert fetch(server, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("change", ["no ranges", "no tag", "weak tag"])
def test_servers_that_cannot_resume(server, tmp_path, change):
    server.ranges = change != "no ranges"
    server.tag = {"no ranges": '"one"', "no tag": None, "weak tag": 'W/"one"'}[change]
    server.cut_after = [700_000]
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_is_already_everything(server, tmp_path):
    (tmp_path / "trio.tar.part").write_bytes(CONTENT)
    (tmp_path / "trio.tar.part.etag").write_text(server.tag)
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "trio.tar.part").write_bytes(CONTENT + b"more")
    (tmp_path / "trio.tar.part.etag").write_text(server.tag)
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.failures = 2
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    server.failures = download.ATTEMPTS
    with pytest.raises(DownloadError, match="503 Service Unavailable, 5 attempts"):
        download.fetch(server.url, tmp_path / "other", pause_s=0.001)


def test_another_checksum_than_expected(server, tmp_path):
    with pytest.raises(DownloadError, match=f"expected SHA-256 {'0' * 64}, got {SHA256} in .*trio.tar; remove it"):
        fetch(server, tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("/elsewhere.tar", "the server says 404 Not Found; check the address"),
        ("/", "names no file"),
    ],
)
def test_wrong_addresses(server, tmp_path, address, match):
    base = server.url.removesuffix("/models/trio.tar")
    with pytest.raises(DownloadError, match=match):
        download.fetch(base + address, tmp_path, pause_s=0.001)


def test_no_server_at_all(server, tmp_path):
    with Server() as gone:
        url = gone.url
    with pytest.raises(DownloadError, match=r"cannot be fetched \(.*refused"):
        download.fetch(url, tmp_path, pause_s=0.001)
    with pytest.raises(DownloadError, match="is no address"):
        download.fetch("http://127.0.0.1:port/trio.tar", tmp_path, pause_s=0.001)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be kept in"):
        fetch(server, tmp_path / "file")


def test_progress_is_told_on_stderr_when_asked(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fetch(server, tmp_path)
    told = capsys.readouterr()
    assert "trio.tar: 100%" in told.err
    assert "3.00M" in told.err
    assert told.out == ""
