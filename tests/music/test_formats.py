"""What is no MIDI file is called by its name; scores are read through music21."""

import pytest

from jaxaccomp.errors import MidiError
from jaxaccomp.music import midi


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x1f\x8b\x08", "gzip archive"),
        (b"PK\x03\x04" + bytes(40), "zip archive"),
        (b"Rar!\x1a\x07\x00", "RAR archive"),
        (b"\xff\xd8\xff\xe0", "JPEG picture"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"\n<html><body>404", "HTML page"),
        (b"ID3\x04", "MP3 recording"),
    ],
)
def test_files_of_other_kinds_are_refused_by_name(data, words):
    with pytest.raises(MidiError, match=words) as caught:
        midi.read(data)
    assert caught.value.reason == "not-midi"


def test_notation_is_read_where_music21_is_installed_else_the_sentence_says_how(monkeypatch):
    abc = b"X:1\nT:Ode\nM:4/4\nL:1/4\nK:C\nEEFG|GFED|CCDE|E3/2D/2D2|\n"
    monkeypatch.setitem(__import__("sys").modules, "music21", None)
    with pytest.raises(MidiError, match=r"is a tune in ABC notation; to read it: pip install 'jaxaccomp\[notation\]'"):
        midi.read(abc)
    monkeypatch.undo()
    pytest.importorskip("music21")
    score = midi.read(abc)
    assert len(score.notes) == 15
    assert score.notes["end"].max() == 16 * score.ticks_per_quarter
    steps = b"".join(
        b"<note><pitch><step>%c</step><octave>5</octave></pitch><duration>1</duration></note>" % step for step in b"CDE"
    )
    xml = (
        b'<?xml version="1.0"?><score-partwise version="3.1"><part-list><score-part id="P"><part-name>Flute</part-name>'
        b'</score-part></part-list><part id="P"><measure number="1"><attributes><divisions>1</divisions><time><beats>3'
        b"</beats><beat-type>4</beat-type></time></attributes>" + steps + b"</measure></part></score-partwise>"
    )
    score = midi.read(xml)
    assert (score.notes["pitch"].tolist(), score.tracks[0].name) == ([72, 74, 76], "Flute")
    assert score.metres.tolist() == [(0, 3, 4)]
    with pytest.raises(MidiError, match="MusicXML score that music21 cannot read"):
        midi.read(b'<?xml version="1.0"?><score-partwise>')
