"""Makes the listening pages of this documentation anew: `python docs/listening_pages.py`.

The first bars of three demo melodies, with bass and drums by the default model and its default settings, take 1 of seed
0: nothing is chosen by hand. The sound is stored small, so that the three pages are less than a megabyte.
"""

from pathlib import Path

import jaxaccomp
from jaxaccomp import demos
from jaxaccomp.generate import take as takes
from jaxaccomp.music import melody, midi
from jaxaccomp.music.midi import Part, Score
from jaxaccomp.report import page, segments
from jaxaccomp.report.bars import bars

FOLDER = Path(__file__).parent / "listen"
TUNES = ("korobeiniki", "rising-sun", "saints")
BARS = 12
QUALITY = segments.Quality(rate=22_050, compression=0.99)
"""Small rather than good: these files travel with the code."""


def main() -> None:
    """Writes a page for each tune, one line each."""
    band = jaxaccomp.load()
    FOLDER.mkdir(exist_ok=True)
    for name in TUNES:
        take = band.accompany(first_bars(midi.read(demos.path(name)), BARS))[0]
        title = name.replace("-", " ").capitalize()
        shown = takes.contents(
            [take],
            [f"{name}.mid"],
            title=f"{title}, the first {BARS} bars",
            settings={"Model": "trio-small", "Seed": "0"},
            command=f"python infer.py --demo {name} --page  # the whole tune",
        )
        path = page.write(FOLDER / f"{name}.html", shown, quality=QUALITY)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def first_bars(score: Score, count: int) -> Score:
    """The melody of a song, alone, up to the end of a bar."""
    track = score.tracks[melody.choose(score).track]
    end = int(bars(score).bar_ticks[count])
    notes = score.track_notes(track.index)
    notes = notes[notes["start"] < end].copy()
    notes["end"] = notes["end"].clip(max=end)
    part = Part(track.name, track.channel, track.program, notes)
    tempos, metres = ([tuple(row) for row in rows.tolist() if row[0] < end] for rows in (score.tempos, score.metres))
    return Score.build(score.ticks_per_quarter, [part], tempos, metres, source=score.source)


if __name__ == "__main__":
    main()
