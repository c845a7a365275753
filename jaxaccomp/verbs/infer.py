"""Play bass and drums to melodies.

One song:      infer.py song.mid --out DIR                writes DIR/song.mid and tells which track is the melody
               infer.py song.mid --out my.mid             writes my.mid
To hear it:    infer.py song.mid --out DIR --page         also writes DIR/song.html, a page that plays in any browser
A demo tune:   infer.py --demo korobeiniki --out DIR --page --audio
A collection:  infer.py FOLDER… --out DIR                 writes DIR/<path in the folder>.mid and DIR/manifest.jsonl;
                                                          the same command resumes a run that was stopped
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jaxaccomp import files, remote, sending
from jaxaccomp.arrays import BAND, BARS
from jaxaccomp.collection.reports import PAGES, Reports
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.errors import CollectionError, UsageError
from jaxaccomp.generate import song as songs
from jaxaccomp.generate.options import PlayOptions, fast
from jaxaccomp.verbs import flags, results
from jaxaccomp.verbs.results import OUT, Place

if TYPE_CHECKING:
    from jaxaccomp.generate.take import Accompaniment

_MOMENT = 64
"""Windows that are decoded before anyone would look for a progress bar."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares inputs, how to play, and what to make of the result."""
    parser.add_argument("inputs", nargs="*", type=remote.path, metavar="INPUT", help="MIDI files, or folders of them")
    parser.add_argument("--demo", metavar="NAME", help="play to one of the demo tunes; `list` describes them")
    parser.add_argument(
        "--out",
        type=remote.path,
        metavar="DIR",
        help=f"folder of the results, or for one song a file name in .mid (one song: default {OUT}/)",
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

    pace = play.add_mutually_exclusive_group()
    for name in ("half", "double"):
        pace.add_argument(
            f"--{name}-time",
            dest="pace",
            action="store_const",
            const=name,
            default=argparse.SUPPRESS,
            help=f"the band plays at {name} the melody's pace",
        )

    show = parser.add_argument_group("what to make of the result")
    show.add_argument(
        "--page", action="store_true", help="also write a listening page, DIR/song.html: open it in any browser"
    )
    show.add_argument(
        "--pages",
        type=_pages,
        metavar="N|NAME",
        help=f"of a folder: how many songs get a page, or which, * for any letters (default: {PAGES}); index.html "
        "lists them all",
    )
    show.add_argument("--audio", action="store_true", help="also render sound, DIR/song.mp3")
    show.add_argument("--plot", action="store_true", help="also draw a piano roll, DIR/song.png")
    show.add_argument("--plot-original", action="store_true", help="the same, with the original above it")
    show.add_argument("--quiet", action="store_true", help="say nothing but what goes wrong")
    show.add_argument("--json", action="store_true", help="say what was made as one JSON object instead of sentences")
    flags.add(parser, CollectionConfig, "of a collection")


def run(arguments: argparse.Namespace) -> int:
    """One song, or a collection."""
    if arguments.demo == "list":
        return _list_demos(arguments.json)
    if bool(arguments.demo) == bool(arguments.inputs):
        raise UsageError(
            "give MIDI files or folders, or --demo NAME" if not arguments.demo else "--demo takes no INPUT"
        )
    config = flags.build(CollectionConfig, arguments)
    if arguments.fast:
        vars(arguments).update(fast() | vars(arguments))  # what is told by a flag of its own stays
    options = flags.build(PlayOptions, arguments)
    arguments.force, arguments.strict = config.force, config.strict
    arguments.inputs = [remote.here(path, "songs") for path in arguments.inputs]
    if remote.is_remote(arguments.out or "") and arguments.out.suffix.lower() in files.MIDI_SUFFIXES:
        raise UsageError(f"{arguments.out}: on a bucket --out is a folder; the file in it is called like the song")
    with sending.writable(arguments.out, "results") as arguments.out:
        return _play(arguments, config, options)


def _play(arguments: argparse.Namespace, config: CollectionConfig, options: PlayOptions) -> int:
    if arguments.demo or _is_single(arguments.inputs):
        return _play_one(arguments, options)
    return _play_collection(arguments, config, options)


def _pages(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _is_single(inputs: Sequence[Path]) -> bool:
    return len(inputs) == 1 and not inputs[0].is_dir()


def _list_demos(as_json: bool) -> int:
    from jaxaccomp import demos
    from jaxaccomp.music import midi
    from jaxaccomp.report import facts

    found = {name: midi.read(demos.path(name)) for name in demos.names()}
    if as_json:
        print(json.dumps([{"name": name, **dict(facts.in_general(score))} for name, score in found.items()]))
        return 0
    width = max(map(len, found))
    for name, score in found.items():
        print(f"{name:{width}}  {facts.line(score)}")
    return 0


def _play_one(arguments: argparse.Namespace, options: PlayOptions) -> int:
    from jaxaccomp import demos
    from jaxaccomp.music import midi

    say = _nothing if arguments.quiet or arguments.json else print
    source = demos.path(arguments.demo) if arguments.demo else arguments.inputs[0]
    place = Place.of(arguments.out, source)
    name = remote.shown(source)
    score = midi.read(source, strict=arguments.strict)
    for mended in score.repaired:
        print(f"infer.py: warning: {name}: {mended}", file=sys.stderr)
    song = songs.prepare(score, options)
    place.refuse_overwriting(source, options.variations)
    count = len(song.melody_NL)
    say(f"{name}: {songs.describe(song)}; {count} window{'s' * (count > 1)} of {BARS} bars")
    if gone := results.left_out(song, options):
        say(gone)
    songs.make_folder(place.folder)

    from jaxaccomp.generate import accompanist

    band = accompanist.load(arguments.checkpoint, dtype=options.dtype)
    with _progress(0 if arguments.quiet else count * options.variations) as progress:
        takes = band.play_song(song, options, progress=progress)
    wanted = place
    if not arguments.force:
        place = wanted.spare(takes, options.seed)
    if place != wanted:
        say(f"{remote.shown(wanted.file())} holds other music and is kept; --force replaces it")
    for take in takes:
        file = take.write(place.file(take.variation))
        say(f"wrote {remote.shown(file)}: {_told(take, options, arguments.checkpoint)}")
    made = {"takes": [{"take": take.variation + 1, "file": remote.shown(place.file(take.variation))} for take in takes]}
    for kind, path in _show(arguments, options, takes, place):
        say(f"wrote {remote.shown(path)}")
        made.setdefault(kind, []).append(remote.shown(path))
    if arguments.json:
        for told, take in zip(made["takes"], takes, strict=True):
            told["scores"] = {name: float(value) for name, value in take.scores.items()}
        choice = {"track": song.choice.track, "why": song.choice.reason}
        print(json.dumps({"input": name, "melody": choice, "seed": options.seed, **made}))
    return 0


def _nothing(text: str) -> None:
    """In place of `print`."""


def _told(take: "Accompaniment", options: PlayOptions, checkpoint: str) -> str:
    from jaxaccomp.report import scores

    number = f"take {take.variation + 1} of {options.variations}, " if options.variations > 1 else ""
    worth = scores.line(scores.of_take(take.scores, take.windows))
    return f"{number}{' and '.join(options.parts)} by {checkpoint}, seed {options.seed}{f'; {worth}' if worth else ''}"


@contextmanager
def _progress(windows: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal, for songs that take more than a moment."""
    if windows <= _MOMENT or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=windows, unit="window") as bar:
        yield bar.update


def _show(
    arguments: argparse.Namespace, options: PlayOptions, takes: "Sequence[Accompaniment]", place: Place
) -> Iterator[tuple[str, Path]]:
    """Makes pictures, sounds and the page, and tells each when it is there."""
    if arguments.plot or arguments.plot_original:
        for take in takes:
            file = place.file(take.variation, ".png")
            take.plot(file, with_original=arguments.plot_original)
            yield "plots", file
    if arguments.audio:
        from jaxaccomp.report import audio

        sounds = [audio.synthesize(take.score) for take in takes]
        gain = audio.shared_gain(sounds)
        for take, sound in zip(takes, sounds, strict=True):
            yield "sounds", audio.write(sound, place.file(take.variation, ".mp3"), gain)
    if arguments.page:
        from jaxaccomp.generate.take import contents
        from jaxaccomp.report import page

        source = shlex.join(["--demo", arguments.demo] if arguments.demo else [remote.shown(arguments.inputs[0])])
        shown = contents(
            list(takes),
            [place.file(take.variation).name for take in takes],
            title=place.stem,
            settings=results.settings(arguments.checkpoint, options),
            command=results.command(source, arguments.out, arguments.checkpoint, options, ["--page"]),
        )
        yield "pages", page.write(place.file(ending=".html"), shown)


def _play_collection(arguments: argparse.Namespace, config: CollectionConfig, options: PlayOptions) -> int:
    if arguments.out is None:
        raise UsageError("a folder needs --out DIR, the folder of the results")
    if options.given is not None:
        raise UsageError("--given is of a single song; give the songs one by one")
    from jaxaccomp.collection import run as collection

    pages = arguments.pages if arguments.page or arguments.pages is not None else None
    source = shlex.join(map(remote.shown, arguments.inputs))
    reports = Reports(
        plots=arguments.plot or arguments.plot_original,
        with_original=arguments.plot_original,
        sounds=arguments.audio,
        pages=PAGES if arguments.page and pages is None else pages,
        settings=results.settings(arguments.checkpoint, options),
        command=results.command(source, arguments.out, arguments.checkpoint, options, ["--page"]),
    )
    is_quiet = arguments.quiet or arguments.json
    summary = collection.run(
        arguments.inputs,
        arguments.out,
        config,
        checkpoint=arguments.checkpoint,
        options=options,
        reports=reports,
        quiet=is_quiet,
    )
    if arguments.json:
        reasons = [{"status": status, "code": code, "songs": n} for (status, code), n in summary.reasons.items()]
        print(json.dumps({"songs": dict(summary.counts), "reasons": reasons, "figures": dict(summary.figures)}))
    elif not is_quiet:
        print(summary.text)
    if summary.exit_code:
        raise CollectionError(
            f"{summary.counts['failed']} of {sum(summary.counts.values())} songs failed; the manifest in "
            f"{remote.shown(arguments.out)} says why of each"
        )
    return 0
