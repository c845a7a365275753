import numpy as np
import pytest

from jaxaccomp.evaluation import musicality as m

C_MAJOR = (60, 62, 64, 65, 67, 69, 71, 72)
A_MINOR = (69, 71, 72, 74, 76, 77, 79, 81)
KICK, SNARE, HAT = 1, 2, 4


def token(pitch):
    return pitch - 21 + 2


def line(*notes, bars=16):
    """A part that plays (step, pitch) in every bar; pitch None ends the note."""
    bar_T = np.zeros(16, np.int64)
    for step, pitch in notes:
        bar_T[step] = 1 if pitch is None else token(pitch)
    return np.concatenate([np.tile(bar_T, bars), np.zeros(256 - 16 * bars, np.int64)])


def drums(pattern, bars=16):
    bar_T = np.zeros(16, np.int64)
    for step, drum in pattern.items():
        bar_T[step] = drum
    return np.concatenate([np.tile(bar_T, bars), np.zeros(256 - 16 * bars, np.int64)])


def trio(melody=None, bass=None, drum=None):
    silence = np.zeros(256, np.int64)
    parts = [silence if part is None else part for part in (melody, bass, drum)]
    return np.stack(parts, axis=-1)[None]


SCALE = line(*[(2 * n, pitch) for n, pitch in enumerate(C_MAJOR)])


def test_sounding_holds_notes_until_they_end():
    tokens = np.array([[0, token(60), 0, 1, 0, token(62), token(64), 0]])
    assert m.sounding(tokens).tolist() == [[-1, 60, 60, -1, -1, 62, 64, 64]]


def test_a_window_that_starts_with_a_note_off_is_silent_there():
    assert (m.sounding(np.array([[1, 0, 0]])) == m.SILENT).all()


@pytest.mark.parametrize(
    ("scale", "tonic"), [(C_MAJOR, 0), ([p + 7 for p in C_MAJOR], 7), ([p + 3 for p in C_MAJOR], 3)]
)
def test_a_major_scale_is_in_its_key(scale, tonic):
    melody = line(*[(2 * n, pitch) for n, pitch in enumerate(scale)])
    tonics, scales = m.keys(melody[None])
    assert tonics.tolist() == [tonic]
    assert set(np.flatnonzero(scales[0])) == {(tonic + s) % 12 for s in (0, 2, 4, 5, 7, 9, 11)}


def test_a_minor_tune_has_its_relative_majors_notes():
    melody = line((0, 69), (6, 72), (8, 76), (14, 74))
    tonics, scales = m.keys(melody[None])
    assert tonics.tolist() == [9]
    assert set(np.flatnonzero(scales[0])) == {0, 2, 4, 5, 7, 9, 11}


def test_a_silent_melody_has_no_key():
    tonics, scales = m.keys(np.zeros((1, 256), np.int64))
    assert tonics.tolist() == [-1]
    assert not scales.any()
    assert np.isnan(m.bass_in_key(trio(bass=line((0, 36)))))


def test_bass_in_key():
    assert m.bass_in_key(trio(SCALE, line((0, 36), (8, 43)))) == 1
    assert m.bass_in_key(trio(SCALE, line((0, 36), (4, 37), (8, 42), (12, 43)))) == 0.5
    assert np.isnan(m.bass_in_key(trio(SCALE)))


def test_consonance_looks_at_strong_beats_alone():
    melody = line((0, 72), (8, 72))
    assert m.bass_consonance(trio(melody, line((0, 36), (8, 41)))) == 1  # unison, then a fifth below
    assert m.bass_consonance(trio(melody, line((0, 36), (8, 43)))) == 0.5  # the second a fourth
    assert m.bass_consonance(trio(melody, line((0, 36), (4, 47), (8, 36)))) == 1  # a clash between them
    assert np.isnan(m.bass_consonance(trio(None, line((0, 36)))))


def test_notes_that_begin_together():
    melody, bass = line((0, 60), (8, 62)), line((0, 36), (4, 38), (8, 40), (12, 41))
    assert m.bass_with_melody(trio(melody, bass)) == 0.5
    assert m.bass_with_kick(trio(melody, bass, drums({0: KICK, 4: SNARE, 8: HAT}))) == 0.25


def test_density_and_empty_bars():
    half = trio(None, line((0, 36), (4, None), (8, 38), (12, None), bars=8), drums({0: KICK, 2: HAT | SNARE}, bars=4))
    assert m.bass_notes_per_bar(half) == 1
    assert m.bass_empty_bars(half) == 0.5
    assert m.drum_hits_per_bar(half) == 0.5
    assert m.drum_empty_bars(half) == 0.75


def test_a_held_note_is_no_empty_bar():
    held = np.zeros(256, np.int64)
    held[0] = token(36)
    assert m.bass_empty_bars(trio(bass=held)) == 0


def test_repetition_and_consistency():
    steady = drums({0: KICK | HAT, 4: SNARE})
    assert m.drum_repetition(trio(drum=steady)) == 1
    assert m.drum_consistency(trio(drum=steady)) == 1
    alternating = np.concatenate([drums({0: KICK | HAT}, 1)[:16], drums({0: KICK | SNARE}, 1)[:16]] * 8)
    assert m.drum_repetition(trio(drum=alternating)) == 0
    assert m.drum_consistency(trio(drum=alternating)) == pytest.approx(1 / 3)
    assert m.bass_repetition(trio(bass=line((0, 36), (8, 43)))) == 1
    walking = np.concatenate([line((0, 36 + n), bars=1)[:16] for n in range(16)])
    assert m.bass_repetition(trio(bass=walking)) == 0


def test_silence_repeats_nothing():
    assert np.isnan(m.drum_repetition(trio()))
    assert np.isnan(m.drum_consistency(trio()))
    once = drums({0: KICK}, bars=1)
    assert np.isnan(m.drum_repetition(trio(drum=once)))


def test_kick_and_snare_placement():
    beat = drums({0: KICK, 8: KICK, 10: KICK, 14: KICK, 4: SNARE, 12: SNARE | KICK})
    assert m.kick_on_strong_beats(trio(drum=beat)) == pytest.approx(2 / 5)
    assert m.snare_on_backbeats(trio(drum=beat)) == 1


def test_measures_lie_in_their_range_and_ignore_other_windows():
    random = np.random.default_rng(0)
    trios = np.stack([random.integers(0, size, (6, 256)) for size in (90, 90, 512)], axis=-1)
    values = m.measure(trios)
    assert set(values) == set(m.MEASURES)
    for name, (_, largest) in m.MEASURES.items():
        assert values[name].shape == (6,)
        assert ((values[name] >= 0) & (values[name] <= largest)).all()
        np.testing.assert_array_equal(m.measure(trios[2:3])[name], values[name][2:3])


def test_profiles_count_what_they_say():
    profiles = m.profiles(trio(SCALE, line((0, 36), (8, 43)), drums({0: KICK, 8: KICK | HAT})))
    assert profiles["bass_positions"][[0, 8]].tolist() == [0.5, 0.5]
    assert profiles["bass_degrees"][[0, 7]].tolist() == [0.5, 0.5]
    assert profiles["bass_pitches"][[36, 43]].tolist() == [0.5, 0.5]
    assert profiles["drum_tokens"][[1, 5]].tolist() == [0.5, 0.5]
    assert profiles["drum_positions"][[0, 8 * 9, 8 * 9 + 2]] == pytest.approx([1 / 3] * 3)


def test_overlap_of_equal_and_of_disjoint_sets():
    one = trio(SCALE, line((0, 36)), drums({0: KICK}))
    other = trio(SCALE, line((4, 37), (8, 37), (12, 37)), drums({4: SNARE, 6: SNARE}))
    assert all(value == pytest.approx(1) for value in m.overlaps(one, one).values() if value is not None)
    mixed = m.overlaps(one, other)
    assert mixed["bass_positions"] == 0
    assert mixed["bass_notes_per_bar"] == 0
    assert mixed["drum_tokens"] == 0
    assert mixed["kick_on_strong_beats"] is None  # the other never kicks
    half = np.concatenate([one, other])
    assert m.overlaps(half, one)["drum_hits_per_bar"] == 0.5
