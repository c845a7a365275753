"""Play bass and drums to melodies.

One song:      infer.py song.mid --out DIR                writes DIR/song.mid and tells which track it took for the tune
A demo tune:   infer.py --demo korobeiniki --out DIR --plot
A collection:  infer.py FOLDER… --out DIR                 writes DIR/<path in the folder>.mid and DIR/manifest.jsonl;
                                                          the same command resumes a run that was stopped
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jaxaccomp import remote
from jaxaccomp.arrays import BAND, BARS
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.errors import CollectionError, UsageError
from jaxaccomp.generate.options import PlayOptions, fast
from jaxaccomp.verbs import flags

if TYPE_CHECKING:
    from jaxaccomp.generate.accompanist import Accompaniment
    from jaxaccomp.generate.song import Song
    from jaxaccomp.music.midi import Score

_OUT = Path("accompanied")
_MOMENT = 64
"""Windows that are decoded before anyone would look for a progress bar."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares inputs, how to play, and what to make of the result."""
    parser.add_argument("inputs", nargs="*", type=remote.path, metavar="INPUT", help="MIDI files, or folders of them")
    parser.add_argument("--demo", metavar="NAME", help="play one of the tunes that come along; `list` tells them")
    parser.add_argument(
        "--out", type=remote.path, metavar="DIR", help=f"folder of the results (one song: default {_OUT}/)"
    )
    parser.add_argument("--checkpoint", default="trio-small", metavar="C", help="name or folder (default: trio-small)")

    play = flags.add(parser, PlayOptions, "how to play")
    play.add_argument("--fast", action="store_true", help="play each window once and take what comes")
    only = play.add_mutually_exclusive_group()
    for part, other in (BAND, BAND[::-1]):
        only.add_argument(
            f"--{part}-only",
            dest="parts",
            action="store_const",
            const=(part,),
            default=argparse.SUPPRESS,
            help=f"no {other}",
        )

    show = parser.add_argument_group("of a single song")
    show.add_argument("--plot", action="store_true", help="also draw a piano roll, DIR/song.png")
    show.add_argument("--plot-original", action="store_true", help="the same, with the original above it")
    show.add_argument("--audio", action="store_true", help="also render sound, DIR/song.ogg (needs FluidSynth)")
    flags.add(parser, CollectionConfig, "of a collection")


def run(arguments: argparse.Namespace) -> int:
    """One song, or a collection."""
    if arguments.demo == "list":
        return _list_demos()
    if bool(arguments.demo) == bool(arguments.inputs):
        raise UsageError(
            "give MIDI files or folders, or --demo NAME" if not arguments.demo else "--demo takes no INPUT"
        )
    config = flags.build(CollectionConfig, arguments)
    if arguments.fast:
        vars(arguments).update(fast() | vars(arguments))  # what is told by a flag of its own stays
    options = flags.build(PlayOptions, arguments)
    arguments.inputs = [remote.here(path, "songs") for path in arguments.inputs]
    with remote.writable(arguments.out, "results") as arguments.out:
        return _play(arguments, config, options)


def _play(arguments: argparse.Namespace, config: CollectionConfig, options: PlayOptions) -> int:
    if arguments.demo or _is_single(arguments.inputs):
        return _play_one(arguments, options)
    return _play_collection(arguments, config, options)


def _is_single(inputs: Sequence[Path]) -> bool:
    return len(inputs) == 1 and not inputs[0].is_dir()


def _list_demos() -> int:
    from jaxaccomp import demos

    for name in demos.names():
        print(name)
    return 0


def _play_one(arguments: argparse.Namespace, options: PlayOptions) -> int:
    from jaxaccomp.generate import song as songs
    from jaxaccomp.music import midi

    source = _demo(arguments.demo) if arguments.demo else arguments.inputs[0]
    out = arguments.out or _OUT
    first = out / source.with_suffix(".mid").name
    targets = [songs.take_path(first, take) for take in range(options.variations)]
    song = songs.prepare(midi.read(source), options.melody)
    if any(target.exists() and target.samefile(source) for target in targets):
        raise UsageError(f"--out {out}: the result would overwrite {source}; choose another folder")
    count = len(song.melody_NL)
    print(f"{source}: {songs.describe(song)}; {count} window{'s' * (count > 1)} of {BARS} bars")
    songs.make_folder(out)

    from jaxaccomp.generate import accompanist

    band = accompanist.load(arguments.checkpoint, dtype=options.dtype)
    with _progress(count * options.variations) as progress:
        takes = band.play_song(song, options, progress=progress)
    for take, target in zip(takes, targets, strict=True):
        take.score.write(target)
        print(f"wrote {target}: {', '.join(options.parts)} by {arguments.checkpoint}, seed {options.seed}")
    for take, target in zip(takes, targets, strict=True):
        _show(arguments, song, take, target)
    return 0


def _demo(name: str) -> Path:
    from jaxaccomp import demos

    return demos.path(name)


@contextmanager
def _progress(windows: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal, for songs that take more than a moment."""
    if windows <= _MOMENT or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=windows, unit="window") as bar:
        yield bar.update


def _show(arguments: argparse.Namespace, song: "Song", take: "Accompaniment", target: Path) -> None:
    if arguments.plot or arguments.plot_original:
        from jaxaccomp.report import pianoroll

        picture = pianoroll.draw(
            take.score,
            target.with_suffix(".png"),
            original=song.score if arguments.plot_original else None,
            melody=_melody_track(song, take.score),
            title=target.stem,
        )
        print(f"wrote {picture}")
    if arguments.audio:
        from jaxaccomp.report import audio

        print(f"wrote {audio.render(target, target.with_suffix('.ogg'))}")


def _melody_track(song: "Song", score: "Score") -> int | None:
    """The tune's track among those of the result, where it may have another number."""
    notes = song.score.track_notes(song.choice.track)[["start", "pitch"]].tolist()
    for track in score.tracks:
        if score.track_notes(track.index)[["start", "pitch"]].tolist() == notes:
            return track.index
    return None


def _play_collection(arguments: argparse.Namespace, config: CollectionConfig, options: PlayOptions) -> int:
    if arguments.out is None:
        raise UsageError("a folder needs --out DIR, the folder of the results")
    for flag in ("plot", "plot-original", "audio"):
        if getattr(arguments, flag.replace("-", "_")):
            raise UsageError(f"--{flag} is of a single song; `python -m jaxaccomp show` draws any MIDI files")
    if options.variations > 1:
        raise UsageError("--variations is of a single song; run a collection again with another --seed and --out")
    from jaxaccomp.collection import run as collection

    summary = collection.run(
        arguments.inputs,
        arguments.out,
        config,
        checkpoint=arguments.checkpoint,
        options=options,
    )
    print(summary.text)
    if summary.exit_code:
        raise CollectionError(
            f"{summary.counts['failed']} of {sum(summary.counts.values())} songs failed; the manifest in "
            f"{arguments.out} says why of each"
        )
    return 0
