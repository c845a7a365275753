"""Checkpoints that lie elsewhere, on a bucket or a web server, are copied to the user's cache folder and used there."""

import contextlib
import functools
import hashlib
import http.client
import json
import os
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from jaxaccomp import files, remote
from jaxaccomp.errors import CheckpointError, DownloadError
from jaxaccomp.weights import download

KIND = "checkpoints"
"""Folder of the cache."""
BESIDE = ("directions.json",)
"""Files of a checkpoint's folder that its record does not name, and that need not be there."""


def local(path_or_name: str | os.PathLike) -> str | os.PathLike:
    """What was given, or the folder of this machine that holds a copy of it.

    A folder on a web server needs no listing: its config.json names all files and their checksums.

    Raises:
        CheckpointError: there is no checkpoint at that address.
        RemoteError: the bucket cannot be read.
        DownloadError: the server cannot be reached, or what it gives is damaged.
        UsageError: the address is of another kind.
    """
    text = os.fspath(path_or_name)
    if download.is_url(text):
        return _from_server(text.rstrip("/").removesuffix("/config.json"))
    if remote.scheme(text) is None:
        return path_or_name
    return _from_bucket(str(remote.path(text)))


@functools.lru_cache(maxsize=8)  # a run asks for its checkpoint several times
def _from_bucket(url: str) -> Path:
    held = remote.listing(url)  # what is no checkpoint may be large, and is not copied
    if "checkpoint/config.json" in held:
        raise CheckpointError(f"{url}: is the folder of a training run; its checkpoint is {url}/checkpoint")
    if "config.json" not in held:
        raise CheckpointError(f"{url}: is no checkpoint of this program; it lacks config.json")
    return remote.mirror(url, KIND)


@functools.lru_cache(maxsize=8)
def _from_server(url: str) -> Path:
    record = f"{url}/config.json"
    text = _read(record)
    try:
        names = {str(name): int(checksum) for name, checksum in json.loads(text)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{record}: is no checkpoint's record ({error!r}); check the address") from error
    folder = files.cache_folder() / KIND / f"{hashlib.sha256(text).hexdigest()[:12]}-{Path(url).name}"
    for name, checksum in names.items():
        target = folder / "arrays" / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{record}: names the file {name}, which lies outside; do not use it")
        if not (target.is_file() and zlib.crc32(target.read_bytes()) == checksum):
            target.unlink(missing_ok=True)
            download.fetch(f"{url}/arrays/{urllib.parse.quote(name)}", target.parent)
            if zlib.crc32(target.read_bytes()) != checksum:
                target.unlink()
                raise DownloadError(f"{url}/arrays/{name}: arrived damaged; try again")
    for name in BESIDE:
        with contextlib.suppress(DownloadError), files.replacing(folder / name) as unfinished:  # few have it
            unfinished.write_bytes(_read(f"{url}/{name}"))
    with files.replacing(folder / "config.json") as unfinished:
        unfinished.write_bytes(text)
    return folder


def _read(url: str) -> bytes:
    """A small file's bytes.

    Raises:
        DownloadError: the server cannot be reached, or has no such file.
    """
    try:
        with urllib.request.urlopen(url, timeout=download.TIMEOUT_S) as answer:
            return answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{url}: cannot be fetched ({getattr(error, 'reason', None) or error}); give the address of a checkpoint's "
            "folder, without config.json"
        ) from error
