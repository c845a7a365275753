"""What people look at and listen to of a collection: pages, pictures and sounds of its songs, and an index of all.

They are made by workers, after the songs themselves, from what the manifest tells. A report that is newer than the
results it shows is not made again, so that the same command goes on where it was stopped.
"""

import fnmatch
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxaccomp.collection.manifest import DONE, Entry
from jaxaccomp.errors import JaxAccompError
from jaxaccomp.music import midi
from jaxaccomp.music.melody import Choice
from jaxaccomp.processes import Job, JobFailure, Workers

PAGES = 100
"""Songs that get a page of their own where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Reports:
    """What is made of the songs of a collection.

    Attributes:
        plots: a piano roll of each take.
        with_original: whether the original is drawn above it.
        sounds: a sound file of each take.
        pages: a listening page for this many songs, or for those whose names match this pattern; None: for none.
        settings: name and value of settings that pages tell.
        command: that pages tell.
    """

    plots: bool = False
    with_original: bool = False
    sounds: bool = False
    pages: int | str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def any(self) -> bool:
        """Whether there is anything to make of songs."""
        return self.plots or self.sounds or self.pages is not None


@dataclass(frozen=True)
class _Task:
    """The reports of one song.

    Attributes:
        source: the song.
        results: its takes.
        choice: its melody.
        scores: of each take.
        plots: picture to draw of each take, if any.
        sounds: sound file to write of each take, if any.
        page: page to write, if any.
        reports: how.
    """

    source: Path
    results: tuple[Path, ...]
    choice: Choice
    scores: tuple[Mapping[str, float], ...]
    plots: tuple[Path, ...]
    sounds: tuple[Path, ...]
    page: Path | None
    reports: Reports


def make(
    entries: Iterable[Entry],
    root: Path,
    out: Path,
    reports: Reports,
    *,
    workers: int = 0,
    time_limit_s: float = 60.0,
    memory_limit_mib: int = 1024,
    quiet: bool = False,
) -> tuple[int, dict[str, str]]:
    """Makes the reports that are missing or older than their song's results.

    Args:
        entries: of the manifest.
        root: folder that the songs' names are relative to.
        out: folder of the results.
        reports: what to make.
        workers: processes; 0 takes one for each core.
        time_limit_s: for one song.
        memory_limit_mib: for one song.
        quiet: whether to hide the progress bar.

    Returns:
        For how many songs something was made, and why nothing could be made for the others, by name.
    """
    tasks = [
        (name, task) for name, task in _tasks(entries, root, out, reports) if task.plots or task.sounds or task.page
    ]
    failures: dict[str, str] = {}
    if not tasks:
        return 0, failures
    limits = {"time_limit_s": time_limit_s, "memory_limit_mib": memory_limit_mib}
    with (
        Workers(min(workers or os.cpu_count() or 1, len(tasks)), **limits, preload=[__name__]) as pool,
        tqdm(total=len(tasks), unit="report", disable=True if quiet else None) as bar,
    ):
        waiting = iter(tasks)
        for name, task in itertools.islice(waiting, 2 * pool.count):
            pool.submit(Job(report, (task,), tag=name))
        while pool.pending:
            for job, result in pool.results():
                reason = result.reason if isinstance(result, JobFailure) else result
                if reason is not None:
                    failures[job.tag] = reason
                bar.update()
                for name, task in itertools.islice(waiting, 1):
                    pool.submit(Job(report, (task,), tag=name))
    return len(tasks) - len(failures), failures


def report(task: _Task) -> str | None:
    """Makes the reports of one song; runs in a worker.

    Returns:
        Why something could not be made, or None.
    """
    from jaxaccomp.report import audio, page, pianoroll

    try:
        original = midi.read(task.source)
        takes = [midi.read(path) for path in task.results]
        tracks = [pianoroll.melody_tracks(original, task.choice.tracks, take) for take in takes]
        for file, take, track in zip(task.plots, takes, tracks, strict=False):
            above = original if task.reports.with_original else None
            pianoroll.draw(take, file, original=above, melody=track, title=file.stem)
        sounds = [audio.synthesize(take) for take in takes] if task.sounds else []
        for file, sound in zip(task.sounds, sounds, strict=False):
            audio.write(sound, file, audio.shared_gain(sounds))
        if task.page is not None:
            page.write(task.page, _contents(task, original, takes, tracks))
    except JaxAccompError as error:
        return str(error)
    return None


def _contents(task: _Task, original: midi.Score, takes: Sequence[midi.Score], tracks: Sequence[int | None]) -> Any:
    from jaxaccomp.report import page

    names = [f"Take {number + 1}" for number in range(len(takes))]
    rows = zip(names, takes, tracks, task.results, task.scores, strict=True)
    return page.Contents(
        title=task.source.stem,
        original=page.Version(name="Original", score=original, melody=task.choice.tracks, file=task.source.name),
        choice=task.choice,
        takes=[
            page.Version(name=name, score=take, melody=track, file=path.name, scores=scores)
            for name, take, track, path, scores in rows
        ],
        settings=task.reports.settings,
        command=task.reports.command,
    )


def _tasks(entries: Iterable[Entry], root: Path, out: Path, reports: Reports) -> Iterator[tuple[str, _Task]]:
    """Each song that is done, with what is missing of it."""
    pages = 0
    for entry in entries:
        if entry["status"] != DONE:
            continue
        name = entry["input"]
        results = tuple(out / output for output in entry["outputs"])
        has_page = _is_asked_for(name, pages, reports.pages)
        pages += has_page
        try:
            made_ns = max(result.stat().st_mtime_ns for result in results)
        except OSError:
            continue  # the manifest tells of a result that somebody removed
        plots, sounds = ([result.with_suffix(ending) for result in results] for ending in (".png", ".mp3"))
        page = results[0].with_suffix(".html")
        melody, scores = entry["melody"], entry.get("scores") or {}
        yield (
            name,
            _Task(
                root / name,
                results,
                Choice(melody["track"], melody["why"], tuple(melody.get("joined", ()))),
                (scores,) * len(results),
                tuple(plots) if reports.plots and not all(_is_newer(plot, made_ns) for plot in plots) else (),
                tuple(sounds) if reports.sounds and not all(_is_newer(sound, made_ns) for sound in sounds) else (),
                page if has_page and not _is_newer(page, made_ns) else None,
                reports,
            ),
        )


def _is_asked_for(name: str, before: int, pages: int | str | None) -> bool:
    if isinstance(pages, str):
        return fnmatch.fnmatch(name.lower(), pages.lower()) or fnmatch.fnmatch(name.lower(), f"{pages.lower()}.*")
    return pages is not None and before < pages


def _is_newer(path: Path, than_ns: int) -> bool:
    try:
        return path.stat().st_mtime_ns >= than_ns
    except OSError:
        return False
