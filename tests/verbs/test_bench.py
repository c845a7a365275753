"""`bench`: its JSON is what outside checks read, its table what people read."""

import json

import pytest

from jaxaccomp import cli
from jaxaccomp.bench import machine, models, operations
from jaxaccomp.config import PRESETS


@pytest.fixture(autouse=True)
def small_peak(monkeypatch):
    """The peak of small matrices: the real one would take longer than everything else here."""
    monkeypatch.setattr(machine, "PEAK_SIZE", {"cpu": 256})
    monkeypatch.setattr(machine, "COPY_BYTES", {"cpu": 2**22})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One quick run, from its JSON file."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "PEAK_SIZE", {"cpu": 256})
        patch.setattr(machine, "COPY_BYTES", {"cpu": 2**22})
        arguments = ["--preset", "tiny", "--batch-size", "1,2", "--quick"]
        arguments += ["--json", str(folder / "bench.json"), "--plot", str(folder / "bench.png")]
        assert cli.main(["bench", *arguments]) == 0
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "bench.json").read_text())


def test_the_contract(results):
    assert results["preset"] == "tiny"
    assert results["peak_gflops"] > 0
    for name in ("encode", "decode"):
        assert results[name]["windows_per_s"] > 0
        assert 0 < results[name]["fraction_of_peak"] < 1.5
        assert results[name]["batch"] in (1, 2)
    assert results["decode"]["parts"] == ["bass", "drums"]
    assert results["decode_all"]["parts"] == ["melody", "bass", "drums"]


def test_every_row_follows_from_what_was_measured(results):
    config = PRESETS["tiny"]
    counts = {"encode": operations.encode_flops(config), "decode": operations.decode_flops(config, ("bass", "drums"))}
    names = ["encode", "surrogate", "decode", "decode_all", "end_to_end"]
    assert [(row["name"], row["batch"]) for row in results["rows"]] == [(n, b) for b in (1, 2) for n in names]
    before, after = results["peak_gflops_before_and_after"]
    assert results["peak_gflops"] == pytest.approx((before + after) / 2)
    for row in results["rows"]:
        assert row["windows_per_s"] == pytest.approx(row["batch"] / row["median_s"])
        assert row["songs_per_s"] == pytest.approx(row["windows_per_s"] / models.SONG_WINDOWS)
        achieved = row["windows_per_s"] * row["gflop_per_window"]
        assert row["fraction_of_peak"] == pytest.approx(achieved / results["peak_gflops"])
        assert row["bound"] in ("compute", "memory")
        assert row["repeats"] >= 3
        if row["name"] in counts:
            assert row["gflop_per_window"] == pytest.approx(counts[row["name"]] / 1e9)


def test_the_fastest_batch_stands_for_its_row(results):
    for name in ("encode", "decode"):
        rows = [row for row in results["rows"] if row["name"] == name]
        assert results[name] in rows
        assert results[name]["windows_per_s"] == max(row["windows_per_s"] for row in rows)


def test_the_table_names_machine_and_versions(results):
    table = models.table(results)
    assert results["machine"]["processor"] in table
    assert f"jax {results['machine']['jax']}" in table
    assert table.count("\n| ") == 1 + len(results["rows"])


def test_json_alone_is_all_there_is_on_stdout(capsys):
    assert cli.main(["bench", "--preset", "tiny", "--batch-size", "1", "--quick", "--naive", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["decode"]["batch"] == 1
    assert all(0 <= row["others"] <= 1 for row in printed["rows"])
    for name in ("encode", "decode"):
        assert printed[f"naive_{name}"]["gflop_per_window"] == printed[name]["gflop_per_window"]


def test_rows_that_are_asked_for(capsys):
    arguments = ["--preset", "tiny", "--batch-size", "2", "--quick", "--rows", "surrogate", "--json"]
    assert cli.main(["bench", *arguments]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["surrogate"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--preset", "huge"], "--preset"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "8,x"], "--batch-size"),
        (["--repeats", "0"], "--repeats"),
        (["--json", "/no/such/folder/file.json"], "/no/such/folder/file.json"),
        (["--devices", "99"], "--devices"),
        (["--preset", "tiny", "--rows", "decode,fly"], "fly"),
        (["poetry"], "poetry"),
    ],
)
def test_wrong_usage(arguments, word, capsys):
    assert cli.main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said


def test_a_picture_that_cannot_be_written(capsys, tmp_path):
    arguments = ["--preset", "tiny", "--batch-size", "1", "--quick", "--plot", str(tmp_path / "no" / "x.png")]
    assert cli.main(["bench", *arguments]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("section", ["models", "startup", "collection"])
def test_each_section_has_its_help(section, capsys):
    assert cli.main(["bench", section, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--json" in said
    assert "--quick" in said
