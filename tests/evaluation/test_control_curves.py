"""Curves of controls and the groove of songs, on songs whose answer is known, and through the program."""

import json

import numpy as np
import pytest

from jaxaccomp import cli, demos
from jaxaccomp.arrays import FIRST_NOTE_ON, STEPS
from jaxaccomp.errors import ConfigError
from jaxaccomp.evaluation import controls, form
from jaxaccomp.evaluation.controls import ControlsConfig
from jaxaccomp.generate import song
from jaxaccomp.music import midi
from jaxaccomp.music.tokens import CRASH, KICK


def _melody(seed):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(STEPS) < 0.3, rng.integers(FIRST_NOTE_ON, 60, STEPS), 0).astype(np.int32)


def test_a_groove_that_never_changes_has_no_change_and_returns():
    melody_NL = np.stack([_melody(0), _melody(1), _melody(0)])
    found = form.changes(melody_NL, np.tile(np.array([1, 0, 4, 0] * 64, np.int32), (3, 1)))
    assert found.inside.sum() == 0
    assert found.across.sum() == 0
    assert found.repeats.tolist() == [0.0]


def test_a_groove_that_changes_at_an_edge_is_found_there_alone():
    melody_NL = np.stack([_melody(0)] * 2)
    drums_NL = np.zeros((2, STEPS), np.int32)
    drums_NL[0, ::4], drums_NL[1, 2::4] = 1, 1
    found = form.changes(melody_NL, drums_NL)
    assert found.inside.sum() == 0
    assert found.repeats.tolist() == [1.0]
    assert found.across.tolist() in ([1.0], [])


def test_crashes_are_counted_on_new_sections_and_elsewhere():
    melody_NL = np.zeros((2, STEPS), np.int32)
    melody_NL[0, ::4], melody_NL[1, 2::8] = 40, 53
    drums_NL = np.zeros((2, STEPS), np.int32)
    drums_NL[:, ::8] = 1 << KICK
    drums_NL[1, 0] |= 1 << CRASH
    found = form.changes(melody_NL, drums_NL)
    assert found.crash_on_section.tolist() == [1.0]
    assert found.crash_elsewhere.sum() == 0
    assert len(found.crash_elsewhere) == 30
    assert found.one_drum.tolist() == [1, 1, 1, 1, 0, 1, 1, 1]


def test_an_end_is_measured_after_the_last_note_of_a_whole_song():
    melody_NL = np.zeros((1, STEPS), np.int32)
    melody_NL[0, : 33 * 4 : 4] = 40  # the last note begins at step 128, in bar 9
    drums_NL = np.ones((1, STEPS), np.int32)
    drums_NL[0, 129:144] = 0
    found = form.changes(melody_NL, drums_NL)
    assert found.usual.tolist() == [1.0] * 8
    assert found.at_end.tolist() == [0.0]
    assert len(form.changes(melody_NL, drums_NL, is_whole=False).at_end) == 0


def test_a_songs_own_drums_lie_on_its_windows():
    score = midi.read(demos.path("korobeiniki"))
    prepared = song.prepare(score)
    tokens_NLP = np.zeros((*prepared.melody_NL.shape, 2), np.int32)
    tokens_NLP[:, ::8, 1] = 1
    with_drums = song.finish(score, prepared.choice, tokens_NLP)
    again = song.prepare(with_drums)
    drums_NL = form.own_drums(with_drums, again.choice)
    assert drums_NL.shape == prepared.melody_NL.shape
    assert set(np.flatnonzero(drums_NL[0]).tolist()) <= set(range(0, STEPS, 8))
    assert (drums_NL > 0).sum() > 16


@pytest.mark.slow
def test_every_control_is_measured_and_leaves_the_melody_alone(tiny_checkpoint, tmp_path, capsys):
    command = ["bench", "controls", "--checkpoint", str(tiny_checkpoint), "--limit", "2", "--windows", "1"]
    assert cli.main([*command, "--candidates", "2", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["melody_untouched"]
    assert [row["control"] for row in results["rows"]] == [control.name for control in controls.CONTROLS]
    curves = {row["measure"]: row for row in results["rows"]}
    swing = curves["place of off-beat notes in their beat, %"]
    assert swing["monotone"]
    assert curves["distance from the grid, ms at 120 a minute"]["monotone"]
    assert curves["mean bass pitch"]["monotone"]
    assert "| swing |" in controls.table(results)


def test_no_songs_are_refused():
    with pytest.raises(ConfigError, match="--limit must be at least 1"):
        ControlsConfig(limit=0)
