"""The listening pages of the documentation: there, small, and of the tunes they say."""

import importlib.util
from pathlib import Path

import numpy as np

from jaxaccomp import demos
from jaxaccomp.music import melody, midi

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("listening_pages", ROOT / "docs" / "listening_pages.py")
listening_pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(listening_pages)


def test_every_page_is_there_and_small_and_linked():
    pages = {name: listening_pages.FOLDER / f"{name}.html" for name in listening_pages.TUNES}
    assert sum(path.stat().st_size for path in pages.values()) < 1_200_000
    for name, path in pages.items():
        assert f"infer.py --demo {name} --page" in path.read_text()
        assert f"docs/listen/{name}.html" in (ROOT / "README.md").read_text()


def test_the_first_bars_of_a_melody():
    score = midi.read(demos.path("rising-sun"))
    track = score.track_notes(melody.choose(score).track)
    cut = listening_pages.first_bars(score, 4)
    end = 4 * 6 * score.ticks_per_quarter // 2  # of 6/8
    assert len(cut.tracks) == 1
    assert cut.notes["end"].max() <= end
    assert np.sort(cut.notes["start"]).tolist() == track["start"][track["start"] < end].tolist()
