import numpy as np

from jaxaccomp.evaluation import melody_choice
from jaxaccomp.music import midi


def song(name: str) -> midi.Score:
    tune = [(480 * i, 480 * i + 480, 60 + i % 5, 90, 0, 0, 0) for i in range(64)]
    chords = [(1920 * i, 1920 * i + 1920, pitch, 60, 0, 0, 0) for i in range(16) for pitch in (40, 44, 47, 52, 56)]
    parts = [midi.Part(name, 0, 73, np.array(tune, midi.NOTE)), midi.Part("Keys", 5, 0, np.array(chords, midi.NOTE))]
    return midi.Score.build(480, parts)


def test_hits_are_counted_where_a_track_is_named(tmp_path):
    for index, name in enumerate(("Lead vocal", "Melody", "MELODIE", "Flute")):
        song(name).write(tmp_path / f"{index}.mid")
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    found = melody_choice.hit_rates(sorted(tmp_path.glob("*.mid")))
    assert found == {"songs": 3, "default": 1.0, "magenta": 0.0}
