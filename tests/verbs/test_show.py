import shutil

import pytest

from jaxaccomp import cli, demos


@pytest.fixture
def show(capsys):
    def call(*arguments):
        code = cli.main(["show", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_describes_a_file(show):
    code, out, err = show(demos.path("rising-sun"))
    assert (code, err) == (0, "")
    whole, melody, chords = out.splitlines()
    assert "49 bars of 6/8, 112 quarter notes a minute, A minor, 1:19 min" in whole
    assert melody.split()[:4] == ["0", "Melody", "program", "65"]
    assert "← the melody: " in melody
    assert "Chords" in chords
    assert "the melody" not in chords


def test_tempo_maps_and_forced_melodies(show):
    assert "120 to 160 quarter notes a minute" in show(demos.path("mountain-king"))[1]
    _, out, _ = show(demos.path("saints"), "--melody", "Chords")
    assert "the melody: asked for by name" in out.splitlines()[2]


def test_a_bad_file_does_not_keep_the_others_from_being_shown(show, tmp_path):
    bad = tmp_path / "bad.mid"
    bad.write_bytes(b"not music")
    code, out, err = show(bad, tmp_path / "lost.mid", demos.path("saints"))
    assert code == 1
    assert "saints.mid: 49 bars" in out
    assert len(err.splitlines()) == 2
    assert "a MIDI file starts with" in err
    assert "Traceback" not in err


def test_plots_go_where_asked(show, tmp_path):
    code, out, _ = show(demos.path("saints"), "--plot", "--original", demos.path("saints"), "--out", tmp_path)
    assert code == 0
    assert f"drew {tmp_path / 'saints.png'}" in out
    assert (tmp_path / "saints.png").read_bytes()[:4] == b"\x89PNG"


def test_folders_are_shown_file_by_file(show, tmp_path):
    for name in ("a/saints.mid", "b/saints.MID"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(demos.path("saints"), tmp_path / name)
    (tmp_path / "empty").mkdir()
    code, out, _ = show(tmp_path, "--plot", "--out", tmp_path / "pictures")
    assert code == 0
    assert out.count("49 bars of 4/4") == 2
    assert (tmp_path / "pictures" / "a" / "saints.png").exists()
    assert (tmp_path / "pictures" / "b" / "saints.png").exists()
    code, _, err = show(tmp_path / "empty")
    assert code == 2
    assert "no MIDI file in this folder" in err


def test_usage_errors(show, tmp_path):
    copy = tmp_path / "saints.mid"
    shutil.copy(demos.path("saints"), copy)
    code, _, err = show(demos.path("saints"), copy, "--plot", "--out", tmp_path)
    assert code == 2
    assert "same name" in err
    assert show(copy, "--original", copy)[0] == 2
    assert show()[0] == 2
