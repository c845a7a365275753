"""Other meters: bars of a song cut from the model's, and a table through the program."""

import json

import numpy as np
import pytest

from jaxaccomp import cli, demos
from jaxaccomp.errors import ConfigError
from jaxaccomp.evaluation import meters
from jaxaccomp.evaluation.meters import MetersConfig
from jaxaccomp.generate import song
from jaxaccomp.music import melody, midi


def _grid(numerator, denominator, bars):
    from jaxaccomp.music.grid import Grid
    from jaxaccomp.music.midi import METRE

    return Grid.lay(480, np.array([(0, numerator, denominator)], METRE), 480 * 4 * numerator // denominator * bars)


def _rows(bars, tokens_of_bar):
    whole = np.zeros((-(-bars // 16), 16, 16), np.int32)
    whole.reshape(-1, 16)[:bars] = tokens_of_bar
    return whole.reshape(len(whole), 256)


def test_bars_of_three_have_twelve_steps_and_what_lies_outside_is_told():
    drums = np.zeros(16, np.int32)
    drums[[0, 4, 8, 12]] = 1
    nothing = _rows(6, 0)
    found = meters.bars(nothing, nothing, _rows(6, drums), _grid(3, 4, 6))
    assert found.drums_MT.shape == (6, 12)
    assert (np.flatnonzero(found.drums_MT[5]) == [0, 4, 8]).all()
    assert found.cut_off == 0.25


def test_a_bar_of_five_is_two_of_the_models_joined():
    rows = np.zeros((8, 16), np.int32)
    rows[::2, 0], rows[1::2, 4] = 1, 2
    found = meters.bars(_rows(8, 0), _rows(8, 0), _rows(8, rows), _grid(5, 4, 4))
    assert found.drums_MT.shape == (4, 20)
    assert found.drums_MT[2, [0, 16]].tolist() == [1, 2]
    assert found.cut_off == 0


@pytest.mark.slow
def test_meters_are_measured_beside_the_songs_own_band(tiny_checkpoint, tmp_path, capsys):
    for name in ("greensleeves", "rising-sun", "saints"):
        score = midi.read(demos.path(name))
        prepared = song.prepare(score)
        windows = melody.windows(score, prepared.choice)
        tokens_NLP = np.zeros((*windows.tokens_NL.shape, 2), np.int32)
        tokens_NLP[:, ::4, 0], tokens_NLP[:, ::2, 1] = 30, 5
        midi.write(song.finish(score, prepared.choice, tokens_NLP), tmp_path / f"{name}.mid")
    command = ["bench", "meters", "--songs", str(tmp_path), "--checkpoint", str(tiny_checkpoint), "--windows", "1"]
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["meters"][meter]["songs"] for meter in ("3/4", "6/8", "5/4")] == [1, 1, 0]
    real = found["meters"]["3/4"]["sources"]["real"]
    assert real["bass_notes"] == 3
    assert real["drum_steps"] == 6
    assert real["places"] == real["cut_off"] == 0
    assert real["hits_kept"] == real["kick_on_one"] == 1
    assert "| 3/4 | real |" in meters.table(found)


def test_a_meter_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="'waltz'"):
        MetersConfig(meters=("waltz",))
