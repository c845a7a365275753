import json
import re

import pytest

from jaxaccomp.errors import RenderError
from jaxaccomp.report import index


def entry(name, status="done", **others):
    stem = name.rsplit(".", 1)[0]
    done = {"outputs": [f"{stem}.mid"], "metres": ["4/4"], "bars": 32, "melody": {"name": "Lead"}}
    return {"input": name, "status": status, "reason": None, **(done if status == "done" else {}), **others}


ENTRIES = [
    entry("b/tune.MID", metres=["3/4", "4/4"], scores={"bass_in_key": 0.91234, "bass_notes_per_bar": 4.5}),
    entry("a #1.mid", scores={"bass_in_key": 0.5}),
    entry("bad.mid", "failed", code="truncated", reason="ends </script> after 3 bytes"),
    entry("drums.mid", "skipped", code="no-melody", reason="only drums"),
]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="songs">(.*?)</script>', text)[1])


def test_every_song_has_a_row_with_what_is_known_of_it(tmp_path):
    text = index.render(tmp_path, ENTRIES, "Songs of <me>")
    data = data_of(text)
    names = [column["name"] for column in data["columns"]]
    assert names == [
        "Song",
        "Status",
        "Reason",
        "Melody",
        "Meter",
        "Bars",
        "Bass notes in key",
        "Bass notes a bar",
        "Files",
    ]
    assert data["rows"][0][:8] == ["b/tune.MID", "done", "", "Lead", "3/4, 4/4", 32, 0.9123, 4.5]
    assert data["rows"][1][6:8] == [0.5, None]
    assert data["rows"][2][:6] == ["bad.mid", "failed", "truncated", "", "", None]
    assert [column.get("percent") for column in data["columns"][6:8]] == [True, False]
    assert text.count("<script") == text.count("</script>")
    assert "<title>Songs of &lt;me&gt;</title>" in text


def test_links_lead_to_what_is_there(tmp_path):
    (tmp_path / "a #1.html").write_text("page")
    (tmp_path / "a #1.png").write_text("picture")
    rows = data_of(index.render(tmp_path, ENTRIES, "Songs"))["rows"]
    assert rows[1][-1] == [["page", "a%20%231.html"], ["MIDI", "a%20%231.mid"], ["roll", "a%20%231.png"]]
    assert rows[0][-1] == [["MIDI", "b/tune.mid"]]
    assert rows[2][-1] == []


def test_names_that_are_no_text_do_not_break_the_index(tmp_path):
    rows = data_of(index.render(tmp_path, [entry("bad\udcff.mid")], "Songs"))["rows"]
    assert rows[0][0] == "bad�.mid"
    assert rows[0][-1] == [["MIDI", "bad%FF.mid"]]


def test_the_index_appears_whole_or_not_at_all(tmp_path):
    path = index.write(tmp_path, ENTRIES, "Songs")
    assert path == tmp_path / "index.html"
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
    path.unlink()
    path.mkdir()
    with pytest.raises(RenderError, match="cannot write the index there"):
        index.write(tmp_path, ENTRIES, "Songs")
