"""Where the results of one song go, and what is told of them."""

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxaccomp import remote
from jaxaccomp.errors import UsageError
from jaxaccomp.files import MIDI_SUFFIXES
from jaxaccomp.generate import song as songs
from jaxaccomp.generate.options import PlayOptions

if TYPE_CHECKING:
    from jaxaccomp.generate.song import Song
    from jaxaccomp.generate.take import Accompaniment

OUT = Path("accompanied")
"""Folder of the results where none is named."""


@dataclass(frozen=True)
class Place:
    """Folder of a song's results, and what they are called but for the ending."""

    folder: Path
    stem: str

    @classmethod
    def of(cls, out: Path | None, source: Path) -> "Place":
        """What `--out` means for one song: a MIDI file, or a folder."""
        if out is not None and out.suffix.lower() in MIDI_SUFFIXES and not out.is_dir():
            return cls(out.parent, out.stem)
        return cls(OUT if out is None else out, source.stem)

    def file(self, take: int = 0, ending: str = ".mid") -> Path:
        """A take's file; the second take's is called `song.take2.mid`."""
        return songs.take_path(self.folder / f"{self.stem}.mid", take).with_suffix(ending)

    def spare(self, takes: "Sequence[Accompaniment]", seed: int) -> "Place":
        """A place where these takes replace no other music: this one, else `song.seed7`, else `song.seed7.2`, ….

        The same command writes the same bytes again, which replaces nothing.
        """
        return next(place for place in self._alternatives(seed) if all(map(place._is_free, takes)))

    def refuse_overwriting(self, source: Path, takes: int) -> None:
        """Keeps results from the song's own file.

        Raises:
            UsageError: a result would be called like the song.
        """
        for take in range(takes):
            target = self.file(take)
            if target.exists() and target.samefile(source):
                raise UsageError(f"--out {self.folder}: the result would overwrite {source}; choose another folder")

    def _alternatives(self, seed: int) -> "Iterator[Place]":
        yield self
        yield Place(self.folder, f"{self.stem}.seed{seed}")
        number = 2
        while True:
            yield Place(self.folder, f"{self.stem}.seed{seed}.{number}")
            number += 1

    def _is_free(self, take: "Accompaniment") -> bool:
        file = self.file(take.variation)
        return not file.exists() or (file.is_file() and file.read_bytes() == take.score.data)


def left_out(song: "Song", options: PlayOptions) -> str:
    """A sentence that names the tracks of the original that are not kept; empty if all are."""
    from jaxaccomp.music import stitch

    given = () if options.given is None else (options.given,)
    gone = stitch.left_out(song.score, song.choice, options.keep, given)
    replaced = stitch.left_out(song.score, song.choice, "all", given)
    if not gone:
        return ""
    names = ", ".join(f"{track.index} {track.name!r}" if track.name else str(track.index) for track in gone[:8])
    more = f" and {len(gone) - 8} more" if len(gone) > 8 else ""
    hint = "; --keep all keeps those that are neither bass nor drums" if len(gone) > len(replaced) else ""
    return f"left out: track{'s' * (len(gone) > 1)} {names}{more}{hint}"


def command(source: str, out: Path | None, checkpoint: str, options: PlayOptions, extra: Sequence[str] = ()) -> str:
    """The command that makes the same takes again.

    Args:
        source: `--demo NAME`, or the song's path, as words of a shell.
        out: `--out`, if given.
        checkpoint: `--checkpoint`.
        options: how the takes were played.
        extra: other flags.
    """
    words = ["python", "infer.py", *shlex.split(source)]
    words += ["--out", remote.shown(out)] if out is not None else []
    words += ["--checkpoint", checkpoint] if checkpoint != "trio-small" else []
    for name, value in changed(options).items():
        if name == "parts":
            words += [f"--{part}-only" for part in options.parts]
        elif name == "pace":
            words.append(f"--{value}-time")
        elif isinstance(value, bool):
            words += [f"--{'' if value else 'no-'}{name.replace('_', '-')}"]
        else:
            words += [f"--{name.replace('_', '-')}", _shown(value)]
    return shlex.join([*words, *extra])


def settings(checkpoint: str, options: PlayOptions) -> dict[str, str]:
    """Name and value of what a listener might ask of: the model, and each setting that is not the default."""
    told = {"Model": checkpoint, "Seed": str(options.seed), "Parts": " and ".join(options.parts)}
    told |= {
        name.replace("_", " ").capitalize(): _shown(value)
        for name, value in changed(options).items()
        if name not in ("seed", "parts")
    }
    return told


def changed(options: PlayOptions) -> dict[str, Any]:
    """The settings that are not the default."""
    default = PlayOptions.of(parts=options.parts)
    found = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != getattr(default, field.name)
    }
    return found if options.parts == PlayOptions().parts else {"parts": options.parts, **found}


def _shown(value: Any) -> str:
    values = value if isinstance(value, tuple | list) else (value,)
    return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in values)
