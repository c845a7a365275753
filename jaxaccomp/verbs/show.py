"""Describe MIDI files, draw them, or play them to a sound file.

Tells each file's bars, meter, tempo, key and tracks, which track would be taken for the melody and why.
`--plot` draws a piano roll, `--audio` renders sound: one picture or sound for each file, in --out. Of a folder, every
MIDI file below it is shown.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jaxaccomp import files
from jaxaccomp.errors import JaxAccompError, MelodyError, UsageError
from jaxaccomp.music import melody as melodies
from jaxaccomp.music import midi
from jaxaccomp.music.midi import Score, Track


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares files and what to make of them."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="MIDI files, or folders of them")
    parser.add_argument(
        "--melody",
        metavar="TRACK",
        help="the melody's track, by number or name, or several: A,B (default: found by rule)",
    )
    parser.add_argument("--plot", action="store_true", help="draw a piano roll, OUT/<name>.png")
    parser.add_argument(
        "--original", type=Path, metavar="FILE", help="with --plot: a file of the same bars to draw above"
    )
    parser.add_argument("--audio", action="store_true", help="render sound, OUT/<name>.mp3")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where pictures and sounds go (default: .)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Shows each file; one that fails is told on stderr and does not keep the others from being shown."""
    if arguments.original is not None and not arguments.plot:
        raise UsageError("--original is drawn above the picture, so it needs --plot")
    found = list(_find(arguments.files))
    if (arguments.plot or arguments.audio) and len({stem for _, stem in found}) < len(found):
        raise UsageError("two of the files have the same name, so one picture or sound would overwrite the other")
    failed = 0
    for file, stem in found:
        try:
            _show(file, arguments.out / stem, arguments)
        except UsageError:
            raise
        except JaxAccompError as error:
            failed += 1
            print(f"jaxaccomp show: {error}", file=sys.stderr)
    return 1 if failed else 0


def _find(inputs: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Each file, with its place under --out but for the ending."""
    for path in inputs:
        if not path.is_dir():
            yield path, Path(path.stem)
            continue
        songs = sorted(Path(file) for file, _ in files.find_midi(path))
        if not songs:
            raise UsageError(f"{path}: no MIDI file in this folder; expected {', '.join(files.MIDI_SUFFIXES)}")
        for file in songs:
            yield file, file.relative_to(path).with_suffix("")


def describe(score: Score, melody: str | None = None) -> str:
    """What a Score holds, a line for the whole and one for each track."""
    from jaxaccomp.report import facts, pianoroll

    try:
        choice = melodies.choose(score, track=melody)
        melody_tracks, reasons = choice.tracks, {choice.track: choice.reason}
    except MelodyError as error:
        if melody is not None:
            raise
        melody_tracks, reasons = (), {}
        no_melody = f"\n  no melody: {error}"
    roles = pianoroll.roles(score, melody_tracks)
    lines = [f"{score.source}: {facts.line(score)}, {len(score.notes)} notes, {len(score.tracks)} tracks"]
    lines += [_track_line(score, track, roles[track.index], reasons) for track in score.tracks]
    return "\n".join(lines) + (no_melody if not melody_tracks else "")


def _track_line(score: Score, track: Track, role: str, reasons: Mapping[int, str]) -> str:
    from jaxaccomp.report.facts import pitch_name

    pitches = score.track_notes(track.index)["pitch"].tolist()
    sound = "drums" if track.is_drums else f"program {track.program}"
    compass = "" if track.is_drums else f"  {pitch_name(min(pitches))}–{pitch_name(max(pitches))}"
    name = " ".join("".join(c if c.isprintable() else " " for c in track.name).split()) or "(no name)"
    reason = reasons.get(track.index, "goes on in this track")
    told = {"melody": f"  ← the melody: {reason}", "bass": "  (bass)"}.get(role, "")
    several = len(track.channels) > 1
    channels = f"  channels {', '.join(str(channel + 1) for channel in track.channels)}" if several else ""
    return f"  {track.index:2d}  {name:24.24s}  {sound:11s}  {len(pitches):5d} notes{compass}{channels}{told}"


def _show(file: Path, place: Path, arguments: argparse.Namespace) -> None:
    score = midi.read(file)
    for mended in score.repaired:
        print(f"jaxaccomp show: warning: {file}: {mended}", file=sys.stderr)
    print(describe(score, arguments.melody))
    if arguments.plot:
        from jaxaccomp.report import pianoroll

        track = melodies.choose(score, track=arguments.melody).tracks if arguments.melody is not None else None
        original = midi.read(arguments.original) if arguments.original is not None else None
        picture = place.with_name(f"{place.name}.png")
        print(f"drew {pianoroll.draw(score, picture, original=original, melody=track)}")
    if arguments.audio:
        from jaxaccomp.report import audio

        print(f"rendered {audio.render(file, place.with_name(f'{place.name}.mp3'))}")
