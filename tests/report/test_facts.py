import numpy as np

from jaxaccomp import demos
from jaxaccomp.music import melody, midi
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report import facts


def song(pitches, tempos=((0, 500_000),), metres=((0, 4, 4),), channel=0):
    notes = np.zeros(len(pitches), NOTE)
    notes["start"] = 480 * np.arange(len(pitches))
    notes["end"], notes["pitch"], notes["velocity"] = notes["start"] + 480, pitches, 80
    return Score.build(480, [Part("Lead", channel, 73, notes)], tempos=tempos, metres=metres)


C_MAJOR = [60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60, 60]


def test_keys_of_scales():
    assert facts.key(song(C_MAJOR)) == "C major"
    assert facts.key(song([pitch + 3 for pitch in C_MAJOR])) == "E♭ major"
    assert facts.key(song([57, 59, 60, 62, 64, 65, 68, 69, 64, 60, 57, 57])) == "A minor"
    assert facts.key(song([36, 38], channel=9)) == "none"


def test_tempo_and_meter_until_the_last_note():
    score = song(C_MAJOR, tempos=((0, 500_000), (960, 400_000), (99_999, 100)), metres=((0, 4, 4), (1920, 3, 4)))
    assert facts.tempo(score) == "120 to 150"
    assert facts.meter(score) == "4/4, 3/4"
    assert facts.length(score) == "0:05"
    assert facts.minutes(187.4) == "3:07"


def test_a_demo_in_one_line_and_in_words():
    score = midi.read(demos.path("korobeiniki"))
    assert facts.line(score) == "32 bars of 4/4, 144 quarter notes a minute, A minor, 0:53 min"
    told = dict(facts.of_song(score, melody.choose(score)))
    assert told["Melody"].startswith("track 0 “Melody”: called 'Melody'")
    assert told["Key"] == "A minor"
