"""A take: what the band played to a song, to be written, looked at and listened to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxaccomp.music import melody as melodies
from jaxaccomp.music import midi

if TYPE_CHECKING:
    from jaxaccomp.report.audio import Clip
    from jaxaccomp.report.page import Contents
    from jaxaccomp.report.pianoroll import Picture


@dataclass(frozen=True, eq=False, repr=False)
class Accompaniment:
    """One take of the band. In a notebook it is a player.

    Attributes:
        score: the song with bass and drums.
        z: the latent of each window [N, Z].
        windows: tokens of melody, bass and drums of each window [N, 256, 3]; a part that was not asked for is silent.
        melody: which track of the song is the melody, and why.
        variation: number of the take, from 0.
        scores: what it was chosen by, means over its windows; see `scoring`.
        original: the song as it was before; None if it is not known.
    """

    score: midi.Score
    z: np.ndarray
    windows: np.ndarray
    melody: melodies.Choice
    variation: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    original: midi.Score | None = None

    @property
    def name(self) -> str:
        """What it is called: the first one "Take 1"."""
        return f"Take {self.variation + 1}"

    @property
    def title(self) -> str:
        """The song's file name without its ending."""
        return Path(self.score.source).stem

    @property
    def melody_tracks(self) -> tuple[int, ...] | None:
        """The melody's tracks in `score`, where they may have other numbers than in the original."""
        from jaxaccomp.report import pianoroll

        if self.original is None:
            return None
        return pianoroll.melody_tracks(self.original, self.melody.tracks, self.score)

    def write(self, path: str | PathLike) -> Path:
        """Writes the song with bass and drums to a MIDI file.

        Raises:
            MidiError: `unwritable`.
        """
        midi.write(self.score, path)
        return Path(path)

    def plot(self, path: str | PathLike | None = None, *, with_original: bool = False) -> "Picture":
        """Its piano roll, which a notebook shows.

        Args:
            path: where to write it, too: `.png`, `.svg` or `.pdf`.
            with_original: whether the original is drawn above it.

        Raises:
            RenderError: it cannot be written.
        """
        from jaxaccomp.report import pianoroll

        original = self.original if with_original else None
        settings = {"original": original, "melody": self.melody_tracks, "title": f"{self.title}, {self.name.lower()}"}
        if path is not None:
            pianoroll.draw(self.score, path, **settings)
        return pianoroll.Picture(pianoroll.figure(self.score, **settings))

    def audio(self, path: str | PathLike | None = None) -> "Clip":
        """Its sound, which a notebook plays.

        Args:
            path: where to write it, too: `.wav`, `.flac`, `.ogg` or `.mp3`.

        Raises:
            RenderError: it cannot be rendered or written.
        """
        from jaxaccomp.report import audio

        clip = audio.clip(self.score)
        if path is not None:
            clip.write(path)
        return clip

    def page(self, path: str | PathLike) -> Path:
        """Writes its listening page: one HTML file in which original and take are heard, seen and compared.

        Raises:
            RenderError: sound cannot be rendered, or the page cannot be written.
        """
        from jaxaccomp.report import page

        return page.write(path, contents([self]))

    def _repr_html_(self) -> str:
        from jaxaccomp.report import page

        return page.frame(contents([self]))

    def __repr__(self) -> str:
        count = len(self.windows)
        scores = "".join(f", {name} {value:.2f}" for name, value in self.scores.items())
        return f"Accompaniment({self.name.lower()} of {self.title!r}, {count} window{'s' * (count != 1)}{scores})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Accompaniment):
            return NotImplemented
        return (
            (self.score, self.melody, self.variation) == (other.score, other.melody, other.variation)
            and np.array_equal(self.windows, other.windows)
            and np.array_equal(self.z, other.z)
        )

    def __hash__(self) -> int:
        return hash((self.score, self.melody, self.variation))


def contents(
    takes: "list[Accompaniment]",
    files: "list[str] | None" = None,
    *,
    title: str | None = None,
    settings: Mapping[str, str] | None = None,
    command: str = "",
) -> "Contents":
    """What a listening page of takes of one song shows.

    Args:
        takes: at least one.
        files: name of each take's MIDI file; None: made of the title.
        title: heading; None: the song's name.
        settings: name and value of settings worth telling.
        command: what makes the takes again.
    """
    from jaxaccomp.report import page, scores

    first = takes[0]
    title = first.title if title is None else title
    files = [f"{title}.take{take.variation + 1}.mid" for take in takes] if files is None else files
    original = first.score if first.original is None else first.original
    track = first.melody.tracks if first.original is not None else first.melody_tracks
    return page.Contents(
        title=title,
        original=page.Version(name="Original", score=original, melody=track, file=f"{title}.original.mid"),
        choice=first.melody,
        takes=[
            page.Version(
                name=take.name,
                score=take.score,
                melody=take.melody_tracks,
                file=file,
                scores=scores.of_take(take.scores, take.windows),
            )
            for take, file in zip(takes, files, strict=True)
        ],
        settings=settings or {},
        command=command,
    )
