"""Describe MIDI files, draw them, or play them to a sound file.

Tells each file's bars, metres, tempo and tracks, which track would be taken for the tune and why.
`--plot` draws a piano roll, `--audio` renders sound: one picture or sound for each file, in --out.
"""

import argparse
import sys
from pathlib import Path

from jaxaccomp.errors import JaxAccompError, MelodyError, UsageError
from jaxaccomp.music import melody as melodies
from jaxaccomp.music import midi
from jaxaccomp.music.midi import Score, Track

_NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares files and what to make of them."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="MIDI files")
    parser.add_argument(
        "--melody", metavar="TRACK", help="the tune's track, by number or name (default: found by rule)"
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
    if (arguments.plot or arguments.audio) and len({file.stem for file in arguments.files}) < len(arguments.files):
        raise UsageError("two of the files have the same name, so one picture or sound would overwrite the other")
    if arguments.original is not None and not arguments.plot:
        raise UsageError("--original is drawn above the picture, so it needs --plot")
    failed = 0
    for file in arguments.files:
        try:
            _show(file, arguments)
        except UsageError:
            raise
        except JaxAccompError as error:
            failed += 1
            print(f"jaxaccomp show: {error}", file=sys.stderr)
    return 1 if failed else 0


def describe(score: Score, melody: str | None = None) -> str:
    """What a Score holds, a line for the whole and one for each track."""
    from jaxaccomp.report import pianoroll

    try:
        choice = melodies.choose(score, track=melody)
        melody_track, reason = choice.track, choice.reason
    except MelodyError as error:
        if melody is not None:
            raise
        melody_track, reason = -1, ""
        no_melody = f"\n  no tune: {error}"
    roles = pianoroll.roles(score, melody_track)
    metres = ", ".join(
        dict.fromkeys(f"{numerator}/{denominator}" for _, numerator, denominator in score.metres.tolist())
    )
    tempos = 60e6 / score.tempos["microseconds"]
    tempo = " to ".join(dict.fromkeys(f"{qpm:.0f}" for qpm in (tempos.min(), tempos.max())))
    minutes, seconds = divmod(round(_seconds(score)), 60)
    lines = [
        f"{score.source}: {pianoroll.bars(score).count} bars of {metres}, {tempo} quarter notes a minute, "
        f"{minutes}:{seconds:02d} min, {len(score.notes)} notes, {len(score.tracks)} tracks"
    ]
    lines += [_track_line(score, track, roles[track.index], reason) for track in score.tracks]
    return "\n".join(lines) + (no_melody if melody_track < 0 else "")


def _track_line(score: Score, track: Track, role: str, reason: str) -> str:
    pitches = score.track_notes(track.index)["pitch"].tolist()
    sound = "drums" if track.is_drums else f"program {track.program}"
    compass = "" if track.is_drums else f"  {_name(min(pitches))}–{_name(max(pitches))}"
    name = " ".join("".join(c if c.isprintable() else " " for c in track.name).split()) or "(no name)"
    told = {"melody": f"  ← the tune: {reason}", "bass": "  (bass)"}.get(role, "")
    return f"  {track.index:2d}  {name:24.24s}  {sound:11s}  {len(pitches):5d} notes{compass}{told}"


def _show(file: Path, arguments: argparse.Namespace) -> None:
    score = midi.read(file)
    print(describe(score, arguments.melody))
    if arguments.plot:
        from jaxaccomp.report import pianoroll

        melody_track = melodies.choose(score, track=arguments.melody).track if arguments.melody is not None else None
        original = midi.read(arguments.original) if arguments.original is not None else None
        print(
            f"drew {pianoroll.draw(score, arguments.out / f'{file.stem}.png', original=original, melody=melody_track)}"
        )
    if arguments.audio:
        from jaxaccomp.report import audio

        print(f"rendered {audio.render(file, arguments.out / f'{file.stem}.mp3')}")


def _seconds(score: Score) -> float:
    end = int(score.notes["end"].max(initial=0))
    tempos = score.tempos[score.tempos["tick"] < max(end, 1)]
    until = [*tempos["tick"].tolist()[1:], end]
    quarters = (until - tempos["tick"]) / score.ticks_per_quarter
    return float((quarters * tempos["microseconds"]).sum() / 1e6)


def _name(pitch: int) -> str:
    return f"{_NOTE_NAMES[pitch % 12]}{pitch // 12 - 1}"
