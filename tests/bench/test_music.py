import argparse

import numpy as np
import pytest

from jaxaccomp.bench import music
from jaxaccomp.errors import UsageError
from jaxaccomp.music import midi


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    music.add_flags(parser)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(given)


def song(name: str) -> midi.Score:
    tune = [(480 * i, 480 * i + 480, 60 + i % 5, 90, 0, 0, 0) for i in range(64)]
    chords = [(1920 * i, 1920 * i + 1920, pitch, 60, 0, 0, 0) for i in range(16) for pitch in (40, 44, 47, 52, 56)]
    parts = [midi.Part(name, 0, 73, np.array(tune, midi.NOTE)), midi.Part("Keys", 5, 0, np.array(chords, midi.NOTE))]
    return midi.Score.build(480, parts)


def test_hits_are_counted_where_a_track_is_named(tmp_path):
    for index, name in enumerate(("Lead vocal", "Melody", "MELODIE", "Flute")):
        song(name).write(tmp_path / f"{index}.mid")
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    found = music.hits(sorted(tmp_path.glob("*.mid")))
    assert found == {"songs": 3, "default": 1.0, "magenta": 0.0}


def test_results_tell_rates_targets_and_the_reference(tmp_path):
    song("Melody").write(tmp_path / "a.mid")
    song("Flute").write(tmp_path / "b.MID")
    results = music.run(arguments("--songs", str(tmp_path), "--count", "2", "--repeats", "1"))
    assert results["songs"] == 2
    for step in ("read", "extract", "melody_stitch_write"):
        assert results["steps"][step]["songs_per_s"] > 0
    assert results["note_seq"]["ratio"] > 1
    assert results["melody"]["songs"] == 1
    text = music.table(results)
    assert "melody + stitch + write" in text
    assert "finds it in 100.0%" in text


def test_a_folder_without_songs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no MIDI files there"):
        music.run(arguments("--songs", str(tmp_path), "--quick"))
