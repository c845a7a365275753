"""Which songs a collection holds, what each is called, and where its result goes."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxaccomp import files
from jaxaccomp.errors import CollectionError, UsageError
from jaxaccomp.files import MIDI_SUFFIXES
from jaxaccomp.generate.song import take_path


@dataclass(frozen=True)
class Inputs:
    """The songs of a collection, by name.

    A collection may be huge, so a song is one string here: everything else about it follows from its name.

    Attributes:
        root: folder that the names are relative to.
        names: sorted, unique, with `/` between folders; the `input` of the manifest.
        renamed: output of the few names whose own place is taken by another song.
        named: names of the files that were given one by one.
        passed_over: how many files of the folders are not called like MIDI files, by ending.
    """

    root: Path
    names: list[str]
    renamed: dict[str, str]
    named: frozenset[str]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where the song is."""
        return self.root / name

    def output(self, name: str) -> str:
        """Where its result goes, relative to the output folder; no two songs share one."""
        return self.renamed.get(name) or _plain_output(name)


def find(inputs: Sequence[Path], out: Path) -> Inputs:
    """Lists the songs of folders and files.

    Links are followed, to folders too, unless they lead back to a folder they are in. `out` is left out when it lies
    inside a folder of songs, so that a second run does not accompany the first one's results. An input that does not
    exist is a song that cannot be read: it costs the others nothing.

    Raises:
        UsageError: results would overwrite songs.
        CollectionError: there is no song.
    """
    for path in inputs:
        if path.is_dir() and os.path.realpath(path) == os.path.realpath(out):
            raise UsageError(f"--out {out}: that is the same folder as the songs'; choose another one for the results")
    anchored = [_anchored(path) for path in inputs]
    folders = [path for path in anchored if path.is_dir()]
    if len(anchored) == 1:
        root = anchored[0] if folders else anchored[0].parent
    else:
        root = Path(os.path.commonpath([path if path in folders else path.parent for path in anchored]))
    named = frozenset(_name(path, root) for path in anchored if path not in folders)
    names, passed_over = set(named), Counter[str]()
    for folder in folders:
        names.update(_name(Path(path), root) for path, _ in files.find_midi(folder, out, passed_over))
    if not names:
        where = ", ".join(map(str, inputs))
        raise CollectionError(
            f"{where}: no song found; expected files named {', '.join('*' + s for s in MIDI_SUFFIXES)}"
            + (f", got {told_passed_over(passed_over)}" if passed_over else "")
        )
    ordered = sorted(names)
    songs = Inputs(root, ordered, _collisions(ordered), named, passed_over)
    _refuse_overwriting(songs, out)
    return songs


def told_passed_over(passed_over: Mapping[str, int]) -> str:
    """How many files of which endings, the most frequent first."""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    endings = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in ordered[:6])
    return endings + (f", and {sum(count for _, count in ordered[6:])} of other kinds" if len(ordered) > 6 else "")


def refuse_colliding_takes(songs: Inputs, takes: int) -> None:
    """Keeps further takes of a song from the results of another that is called like them.

    Raises:
        UsageError: there is such a song.
    """
    if takes == 1:
        return
    outputs = {songs.output(name) for name in songs.names}
    for name in songs.names:
        for take in range(1, takes):
            output = take_path(Path(songs.output(name)), take).as_posix()
            if output in outputs:
                raise UsageError(
                    f"--variations {takes}: take {take + 1} of {songs.path(name)} would be called {output}, like the "
                    "result of another song; rename that, or run the collection with other seeds and folders"
                )


def _anchored(path: Path) -> Path:
    """The path with its parent made real and its own name kept, be it a link or not."""
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _plain_output(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in MIDI_SUFFIXES else name) + ".mid"


def _collisions(names: list[str]) -> dict[str, str]:
    """Outputs of the names that cannot have their plain one: `a.MID` beside `a.mid` becomes `a.MID.mid`."""
    keepers = {name for name in names if _plain_output(name) == name}
    folders = {parent for name in names for parent in _parents(name)}
    taken, renamed = set(keepers), {}
    for name in names:
        if name in keepers and name not in folders:
            continue
        output, attempt = _plain_output(name), 0
        while output in taken or output in folders:
            output = f"{name}.{attempt}.mid" if attempt else f"{name}.mid"
            attempt += 1
        taken.add(output)
        if output != _plain_output(name):
            renamed[name] = output
    return renamed


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)


def _refuse_overwriting(songs: Inputs, out: Path) -> None:
    place = os.path.realpath(out)
    sources = (os.path.realpath(songs.path(name)) for name in songs.names)
    inside = {os.path.relpath(source, place) for source in sources if source.startswith(place + os.sep)}
    for name in songs.names if inside else ():
        if songs.output(name) in inside:
            raise UsageError(
                f"--out {out}: the result of {songs.path(name)} would overwrite the song {songs.output(name)} there; "
                "choose another folder"
            )
