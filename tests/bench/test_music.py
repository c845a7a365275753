import numpy as np
import pytest

from jaxaccomp.bench import music
from jaxaccomp.bench.settings import MusicConfig
from jaxaccomp.errors import UsageError
from jaxaccomp.music import midi


def song(name: str) -> midi.Score:
    tune = [(480 * i, 480 * i + 480, 60 + i % 5, 90, 0, 0, 0) for i in range(64)]
    chords = [(1920 * i, 1920 * i + 1920, pitch, 60, 0, 0, 0) for i in range(16) for pitch in (40, 44, 47, 52, 56)]
    parts = [midi.Part(name, 0, 73, np.array(tune, midi.NOTE)), midi.Part("Keys", 5, 0, np.array(chords, midi.NOTE))]
    return midi.Score.build(480, parts)


def test_results_tell_rates_targets_and_the_reference(tmp_path):
    song("Melody").write(tmp_path / "a.mid")
    song("Flute").write(tmp_path / "b.MID")
    results = music.measure(MusicConfig(songs=tmp_path, count=2, repeats=1))
    assert results["songs"] == 2
    assert list(results["steps"]) == ["read", "extract", "melody_stitch_write"]
    assert results["note_seq"]["songs"] == 12
    assert results["note_seq"]["ratio"] > 0
    assert results["melody"]["songs"] == 1
    text = music.table(results)
    assert "melody + stitch + write" in text
    assert "finds it in 100.0%" in text


def test_a_folder_without_songs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no MIDI files there"):
        music.measure(MusicConfig(songs=tmp_path, quick=True))
