"""Paths on buckets: `gs://…` and `s3://…` where a folder is taken, and nothing else that looks like an address.

What is read often is copied to this machine once and checked by size and checksum; what is written is written here and
sent when it is whole, so that a bucket never shows half a file.
"""

import argparse
import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxaccomp import files
from jaxaccomp.errors import RemoteError, UsageError

if TYPE_CHECKING:
    from etils import epath

SCHEMES = {"gs": "gcs", "s3": "s3"}
"""Kinds of buckets, and the extra that brings what reads them."""
RECORD = ".bucket.json"
"""In a folder that stands for one on a bucket: its address and what it holds."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_PIECE = 1 << 20


class Stored(NamedTuple):
    """A file on a bucket.

    Attributes:
        size: in bytes.
        md5: in hexadecimal, or None where the bucket does not know it.
    """

    size: int
    md5: str | None


def scheme(path: str | os.PathLike) -> str | None:
    """What stands before `://` in a path, or None for a path of this machine."""
    match = _SCHEME.match(os.fspath(path))
    return match[1].lower() if match else None


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path lies on a bucket."""
    return scheme(path) in SCHEMES


def path(text: str) -> "Path | epath.Path":
    """A path of this machine, or one on a bucket; the type of flags that take both.

    Raises:
        UsageError: it looks like an address of another kind.
    """
    kind = scheme(text)
    if kind is None:
        return Path(text)
    if kind not in SCHEMES or not re.match(r"[a-z0-9]+://[^/]", text):
        raise UsageError(
            f"{text}: expected a path of this machine, gs://BUCKET/… or s3://BUCKET/…; this is none of them, and "
            "nothing was written"
        )
    _require_extra(kind, text)
    from etils import epath

    return epath.Path(text)


def local_path(text: str) -> Path:
    """A path of this machine; the type of flags that take no other.

    Raises:
        UsageError: it looks like an address.
    """
    if scheme(text) is not None:
        raise UsageError(
            f"{text}: this flag takes a path of this machine alone; copy from or to the bucket yourself, e.g. by "
            "`gcloud storage cp` or `aws s3 cp`; nothing was written"
        )
    return Path(text)


def refuse_addresses(parser: argparse.ArgumentParser) -> None:
    """Lets every flag of a parser whose type is `Path` refuse addresses, which `Path` would take for folders."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                refuse_addresses(sub)
        elif action.type is Path:
            action.type = local_path


@contextlib.contextmanager
def reaching(url: Any) -> Iterator[None]:
    """Tells in one sentence why a bucket cannot be read or written.

    Raises:
        RemoteError: in place of whatever the bucket's library raises, which has no common root.
    """
    try:
        yield
    except (RemoteError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".") or type(error).__name__
        raise RemoteError(
            f"{url}: cannot be reached, read or written ({type(error).__name__}: {reason}); check the bucket's name, "
            "the credentials and the network"
        ) from error


def listing(url: Any) -> dict[str, Stored]:
    """All files at or under an address, by name relative to it; none if there is nothing."""
    with reaching(url):
        system, root = _system(url)
        try:
            found = system.find(root, detail=True)
        except FileNotFoundError:
            if not system.exists(root.split("/", 1)[0]):
                raise
            return {}
        if not found and not system.exists(root.split("/", 1)[0]):
            raise FileNotFoundError("no such bucket")
        return {
            name[len(root) :].lstrip("/") or Path(name).name: Stored(int(entry["size"]), _md5(entry))
            for name, entry in found.items()
            if entry["type"] == "file" and not name.endswith("/")
        }


def fetch(url: Any, target: Path, stored: Stored) -> Path:
    """Copies one file here, unless it is here already; it appears whole and checked.

    Raises:
        RemoteError: it cannot be read, or its bytes are not what the bucket says they are.
    """
    if _is(target, stored):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with reaching(url):
        system, root = _system(url)
        with files.replacing(target) as temporary:
            system.get_file(root, str(temporary))
            if not _is(temporary, stored):
                raise RemoteError(f"{url}: what arrived is not what the bucket says it holds; try again")
    return target


def send(source: Path, url: Any, last: Iterable[str] = ()) -> None:
    """Copies a file, or all files of a folder, to a bucket; what is there already, byte for byte, is not sent again.

    Hidden files and folders stay here.

    Args:
        source: file or folder of this machine.
        url: where it goes.
        last: names in the folder that go last, since they say that the others are whole.
    """
    held = listing(url)
    with reaching(url):
        system, root = _system(url)
        if source.is_file():
            if source.name not in held or not _is(source, held[source.name]):
                system.put_file(str(source), root)
            return
        late = list(last)
        names = sorted(file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file())
        for name in sorted(names, key=lambda name: (name in late, name)):
            hidden = any(part.startswith(".") for part in name.split("/")) and name not in late
            if not hidden and (name not in held or not _is(source / name, held[name])):
                system.put_file(str(source / name), f"{root}/{name}")


def here(path: str | os.PathLike, kind: str) -> Path:
    """A path of this machine as it is; for one on a bucket, a copy of that file or folder.

    Args:
        path: a file or a folder.
        kind: what it is, a word for the cache's folder.

    Raises:
        RemoteError: it cannot be read, or nothing is there.
    """
    if not is_remote(path):
        return Path(path)
    url = os.fspath(path).rstrip("/")
    held = listing(url)
    name = url.rsplit("/", 1)[1]
    with reaching(url):
        system, root = _system(url)
        single = list(held) == [name] and system.isfile(root)
    if single:
        folder = stand_in(url, kind)
        _remember(folder, url.rsplit("/", 1)[0], held)
        return fetch(url, folder / name, held[name])
    if not held:
        raise RemoteError(f"{url}: nothing is there; check the address")
    return mirror(url, kind)


def read_text(url: Any) -> str | None:
    """A small file's text, or None if there is none."""
    with reaching(url):
        system, root = _system(url)
        try:
            return system.cat_file(root).decode()
        except FileNotFoundError:
            return None


def write_text(url: Any, text: str) -> None:
    """Writes a small file."""
    with reaching(url):
        system, root = _system(url)
        system.pipe_file(root, text.encode())


def create_text(url: Any, text: str) -> bool:
    """Writes a small file only if there is none; whether it did, which the bucket decides if it knows conditions."""
    with reaching(url):
        system, root = _system(url)
        try:
            system.pipe_file(root, text.encode(), mode="create")
        except FileExistsError:
            return False
        except (
            Exception
        ):  # other services than Amazon's and Google's may know no conditions; if not that, it fails again
            if system.exists(root):
                return False
            system.pipe_file(root, text.encode())
        return True


def remove(url: Any, names: Iterable[str]) -> None:
    """Removes files under an address."""
    with reaching(url):
        system, root = _system(url)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(f"{root}/{name}")


def replace_folder(source: Path, url: Any, key: str) -> None:
    """Replaces a folder on a bucket by one of this machine.

    Args:
        source: the folder.
        url: what it becomes.
        key: the file without which the folder counts as missing: it goes first and comes last.
    """
    before = listing(url)
    remove(url, [key] if key in before else [])
    send(source, url, last=[key])
    remove(url, [name for name in before if not (source / name).is_file()])


def stand_in(url: Any, kind: str) -> Path:
    """The folder of this machine that stands for an address; made if missing."""
    text = os.fspath(url).rstrip("/")
    folder = files.cache_folder() / kind / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-{Path(text).name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RemoteError(
            f"{folder}: the copy of {text} cannot be kept here ({error.strerror}); set XDG_CACHE_HOME to a folder that "
            "can be written"
        ) from error
    return folder


def mirror(url: Any, kind: str, lazily: str = "") -> Path:
    """A folder of this machine that stands for one on a bucket.

    Args:
        url: the folder on the bucket.
        kind: what it is, a word for the cache's folder.
        lazily: files with this in their names come when `ensure` asks for them; the others now.

    Raises:
        RemoteError: the bucket cannot be read.
    """
    folder = stand_in(url, kind)
    held = listing(url)
    for name, stored in held.items():
        target = folder / name
        if not lazily or lazily not in name:
            fetch(f"{os.fspath(url).rstrip('/')}/{name}", target, stored)
        elif target.exists() and not _is(target, stored):
            target.unlink()  # of an earlier dataset at the same address
    _remember(folder, os.fspath(url).rstrip("/"), held)
    return folder


def shown(path: str | os.PathLike) -> str:
    """How a path is told to people: by its address, if its folder stands for one on a bucket; touches no network."""
    place = Path(path).absolute()
    for folder in list((place / "file").parents)[:4]:
        record = _record(folder / RECORD)
        if record is not None:
            return f"{record['url']}/{place.relative_to(folder).as_posix()}".removesuffix("/.")
    return os.fspath(path)


def ensure(file: Path) -> bool:
    """Whether a file is there, after fetching it if its folder stands for one on a bucket."""
    if file.is_file():
        return True
    for folder in list(file.parents)[:4]:
        record = _record(folder / RECORD)
        if record is not None:
            name = file.relative_to(folder).as_posix()
            if name not in record["files"]:
                return False
            fetch(f"{record['url']}/{name}", file, Stored(*record["files"][name]))
            return True
    return False


def expected(file: Path) -> bool:
    """Whether a file is there or could be fetched; touches no network."""
    if file.is_file():
        return True
    for folder in list(file.parents)[:4]:
        record = _record(folder / RECORD)
        if record is not None:
            return file.relative_to(folder).as_posix() in record["files"]
    return False


def _remember(folder: Path, url: str, held: Mapping[str, Stored]) -> None:
    """Records which folder of a bucket another folder stands for."""
    with files.replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"url": url, "files": held}))
    _record.cache_clear()


@functools.lru_cache(maxsize=64)
def _record(file: Path) -> Mapping[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def _system(url: Any) -> tuple[Any, str]:
    """The bucket's file system and the path in it."""
    text = os.fspath(url)
    kind = scheme(text)
    _require_extra(str(kind), text)
    import fsspec

    # What other processes write must be seen, so listings are not remembered.
    return fsspec.filesystem(kind, use_listings_cache=False), text.split("://", 1)[1].rstrip("/")


def _require_extra(kind: str, text: str) -> None:
    if importlib.util.find_spec("gcsfs" if kind == "gs" else "s3fs") is None:
        raise RemoteError(f"{text}: what reads {kind}:// is not installed; pip install 'jaxaccomp[{SCHEMES[kind]}]'")


def _md5(entry: Mapping[str, Any]) -> str | None:
    if entry.get("md5Hash"):
        return base64.b64decode(entry["md5Hash"]).hex()
    tag = str(entry.get("ETag", "")).strip('"')
    return tag if re.fullmatch(r"[0-9a-f]{32}", tag) else None


def _is(file: Path, stored: Stored) -> bool:
    """Whether a file of this machine is the stored one."""
    if not file.is_file() or file.stat().st_size != stored.size:
        return False
    if stored.md5 is None:
        return True
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() == stored.md5
