"""Fetches large files over http(s): with progress, resumed where it broke off, and checked."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from jaxaccomp.errors import DownloadError

ATTEMPTS = 5
"""Times a broken connection is taken up again before giving up."""
TIMEOUT_S = 60.0
"""Silence after which a connection counts as broken."""
_PIECE = 2**20


def is_url(source: str) -> bool:
    """Whether `source` is an http(s) address."""
    return source.startswith(("http://", "https://"))


def sha256_of(*files: Path) -> str:
    """SHA-256 of some files' bytes, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def fetch(url: str, folder: Path, sha256: str | None = None, pause_s: float = 1.0) -> Path:
    """Downloads a file unless it is already there.

    What has arrived stays in `NAME.part`, and the next call asks for the rest, provided that the server still has the
    same file; `NAME` appears once it is complete.

    Args:
        url: its address.
        folder: where it goes, under the last part of the address as its name.
        sha256: what its SHA-256 must be, in hexadecimal; None accepts any.
        pause_s: wait before a broken connection is taken up again; it doubles each time.

    Returns:
        The file.

    Raises:
        DownloadError: the address does not answer, answers with an error, or gives another file than `sha256` says.
    """
    name = Path(urlsplit(url).path).name
    if not name:
        raise DownloadError(f"{url}: names no file; give the address of a .tar archive")
    target, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _complete(url, part, pause_s)
            part.replace(target)
            _validator(part).unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{url}: cannot be kept in {folder} ({error}); choose another folder") from error
    if sha256 is not None:
        check(url, target, sha256)
    return target


def check(source: str, file: Path, sha256: str) -> None:
    """Compares a file's SHA-256 with the expected one, in hexadecimal.

    Raises:
        DownloadError: they differ, or the file cannot be read.
    """
    try:
        found = sha256_of(file)
    except OSError as error:
        raise DownloadError(f"{source}: cannot be read to check its SHA-256 ({error}); give a file") from error
    if found != sha256.lower():
        raise DownloadError(
            f"{source}: expected SHA-256 {sha256.lower()}, got {found} in {file}; remove it and fetch it again"
        )


def _complete(url: str, part: Path, pause_s: float) -> None:
    for attempt in range(ATTEMPTS):
        try:
            if _continue(url, part):
                return
            problem: object = "the connection was closed early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DownloadError(f"{url}: the server says {error.code} {error.reason}; check the address") from error
            problem = f"{error.code} {error.reason}"
        except (http.client.InvalidURL, ValueError) as error:
            raise DownloadError(f"{url}: is no address ({error}); check it") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = getattr(error, "reason", None) or error
        if attempt + 1 < ATTEMPTS:
            time.sleep(pause_s * 2**attempt)
    raise DownloadError(
        f"{url}: cannot be fetched ({problem}, {ATTEMPTS} attempts); check the network and repeat the command, "
        "which continues where it stopped"
    )


def _continue(url: str, part: Path) -> bool:
    """Appends what is missing; tells whether the file is complete."""
    have = part.stat().st_size if part.exists() else 0
    validator = _validator(part)
    request = urllib.request.Request(url, headers={"User-Agent": "jaxaccomp", "Accept-Encoding": "identity"})
    if have and validator.exists():  # without a sign that it is still the same file, the old part is worthless
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator.read_text())
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what is here: either it is all, or it is of another file
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return True
            part.unlink()
            return False
        raise
    with answer:
        if answer.status != 206:
            have = 0
        elif not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            part.unlink()
            return False
        sign = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if sign and not sign.startswith("W/"):
            validator.write_text(sign)
        else:
            validator.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else None
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while piece := answer.read(_PIECE):
                file.write(piece)
                bar.update(len(piece))
            file.flush()
            os.fsync(file.fileno())
    return total is None or part.stat().st_size == total


def _validator(part: Path) -> Path:
    """Keeps the server's sign for the version of the file that the part belongs to."""
    return part.with_name(part.name + ".etag")
