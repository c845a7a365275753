import base64
import json
import re

import numpy as np
import pytest

from jaxaccomp.errors import RenderError
from jaxaccomp.music import melody
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report import audio, page, segments, stems


def notes(*rows):
    array = np.zeros(len(rows), NOTE)
    for row, (start, end, pitch) in zip(array, rows, strict=True):
        row["start"], row["end"], row["pitch"], row["velocity"] = start, end, pitch, 90
    return array


def lead():
    return Part("Lead </script>", 0, 73, notes(*((480 * n, 480 * n + 400, 72 + n % 5) for n in range(32))))


def take(bass_pitch):
    bass = Part("Bass", 1, 33, notes(*((960 * n, 960 * n + 900, bass_pitch) for n in range(16))))
    drums = Part("Drums", 9, 0, notes(*((480 * n, 480 * n + 60, (36, 38)[n % 2]) for n in range(32)), (0, 60, 100)))
    return Score.build(480, [lead(), bass, drums])


def song(takes=2, **others):
    original = Score.build(480, [lead(), Part("Pad", 2, 89, notes((0, 15360, 60)))])
    versions = [
        page.Version(
            name=f"Take {n + 1}",
            score=take(36 + n),
            melody=0,
            file=f"a.take{n + 1}.mid",
            scores={"bass_in_key": 0.5 + 0.1 * n, "bass_notes_per_bar": 2.0},
        )
        for n in range(takes)
    ]
    return page.Contents(
        title="A & <b>",
        original=page.Version(name="Original", score=original, melody=0, file="a.mid"),
        choice=melody.Choice(0, "called 'Lead'"),
        takes=versions,
        settings={"Seed": "0"},
        command="python infer.py 'a & b.mid'",
        **others,
    )


@pytest.fixture(scope="module")
def text():
    return page.render(song())


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="song">(.*?)</script>', text)[1])


def test_parts_that_versions_share_are_stored_once(text):
    data = data_of(text)
    original, first, second = (source["stems"] for source in data["sources"])
    assert set(original) == {"melody", "other"}
    assert set(first) == set(second) == {"melody", "bass", "drums"}
    assert original["melody"] == first["melody"] == second["melody"]
    assert first["bass"] != second["bass"]
    assert first["drums"] == second["drums"]
    assert set(data["stems"]) == {f"s{n}" for n in range(5)}


def test_the_page_holds_notes_bars_and_files(text):
    data = data_of(text)
    assert data["bars"] == [2.0 * n for n in range(9)]
    assert data["stems"][data["sources"][1]["stems"]["bass"]]["notes"][1] == [1.0, 0.938, 36, 90]
    drums = data["stems"][data["sources"][1]["stems"]["drums"]]["notes"]
    assert [note[2] for note in drums[:3]] == [0, page.OTHER_DRUM, 1]
    assert base64.b64decode(data["sources"][2]["midi"]) == take(37).data
    assert data["sources"][1]["scores"][0] == {"label": "Bass notes in key", "value": 0.5, "text": "50%"}
    assert dict(data["facts"])["Melody"] == "track 0 “Lead </script>”: called 'Lead'"
    assert dict(data["facts"])["Length"] == "8 bars, 0:16 min"


def test_nothing_in_a_song_ends_a_script_early(text):
    assert text.count("<script") == text.count("</script>")
    assert "Lead </script>" not in text
    assert "<title>A &amp; &lt;b&gt;</title>" in text


def test_nothing_is_fetched(text):
    without_audio = re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.S)
    assert not re.search(r"https?://|(src|href)=\"(?!data:)[^\"]|@import|url\(", without_audio)
    assert "default-src 'none'" in text


def decoded(text, stem):
    import io

    import soundfile

    pieces = re.findall(rf'id="audio-{stem}-(\d+)">([^<]+)<', text)
    return {int(n): soundfile.read(io.BytesIO(base64.b64decode(piece)))[0] for n, piece in pieces}


def test_segments_overlap_and_add_up_to_the_sound(text):
    pieces = decoded(text, "s0")
    lead_frames, length = (round(seconds * segments.GOOD.rate) for seconds in (segments.LEAD_S, segments.SEGMENT_S))
    assert all(len(piece) == length + 2 * lead_frames for piece in pieces.values())
    end_of_first, start_of_second = pieces[0][length : length + 2 * lead_frames], pieces[1][: 2 * lead_frames]
    correlation = np.corrcoef(end_of_first, start_of_second)[0, 1]
    assert correlation > 0.95


def test_a_silent_segment_is_not_stored():
    sound = np.zeros((round(3.5 * segments.SEGMENT_S * audio.SAMPLE_RATE), 2), np.float32)
    sound[: audio.SAMPLE_RATE] = 0.5 * np.sin(np.arange(audio.SAMPLE_RATE) / 20)[:, None]
    assert [piece is None for piece in segments.encode(sound)] == [False, True, True, True]


def test_a_long_song_with_four_takes_stays_small():
    """Twenty megabytes are the limit for four minutes; half a minute of parts that never rest is measured here."""
    busy = np.random.default_rng(0)
    starts = np.arange(0, 480 * 64, 120)
    bass = Part("Bass", 1, 33, notes(*((start, start + 100, busy.integers(30, 50)) for start in starts)))
    drums = Part("Drums", 9, 0, notes(*((start, start + 60, busy.choice([36, 38, 42, 51])) for start in starts)))
    score = Score.build(480, [bass, drums])
    versions_parts = 4 + 4 * 2  # melody, chords, bass and drums of the original, bass and drums of each take
    quality = segments.quality(240.0 * versions_parts)
    size = 0
    for stem in stems.split(score, {0: "bass", 1: "drums"}):
        pieces = segments.encode(audio.synthesize(stem.score), 5.0, quality)
        size += sum(len(piece) for piece in pieces if piece)
    minutes = audio.length_s(score) / 60
    a_minute_of_a_stem = size / 2 / minutes
    assert a_minute_of_a_stem * 4 * versions_parts < 20e6


def test_a_page_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(page, "render", lambda song, quality: "text")
    with pytest.raises(RenderError, match="cannot write the page there"):
        page.write(tmp_path / "file" / "a.html", song())
    assert page.write(tmp_path / "new" / "a.html", song()).read_text() == "text"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]
