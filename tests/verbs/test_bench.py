"""`bench`: its JSON is what outside checks read, its table what people read."""

import json

import pytest

from jaxaccomp import cli
from jaxaccomp.bench import bandwidth, machine, models
from jaxaccomp.verbs import bench


@pytest.fixture(autouse=True, scope="module")
def small_peak():
    """The peak of small matrices: the real one would take longer than everything else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "PEAK_SIZE", {"cpu": 256})
        patch.setattr(bandwidth, "READ_BYTES", {"cpu": 2**22})
        patch.setattr(bandwidth, "_LEAST_BYTES", 2**20)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One quick run, from its JSON file."""
    folder = tmp_path_factory.mktemp("bench")
    arguments = ["--preset", "tiny", "--batch-size", "1,2", "--quick", "--rows", "encode,decode,end_to_end"]
    arguments += ["--json", str(folder / "bench.json"), "--plot", str(folder / "bench.png")]
    assert cli.main(["bench", *arguments]) == 0
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "bench.json").read_text())


@pytest.mark.slow
def test_json_has_the_keys_that_outside_checks_read(results):
    assert results["preset"] == "tiny"
    assert results["weights"] == "random", "no checkpoint is called tiny"
    for name in ("encode", "decode"):
        assert {"windows_per_s", "fraction_of_peak", "batch"} <= set(results[name])
        assert 0 < results[name]["fraction_of_peak"] < 1.5
    assert results["decode"]["parts"] == ["bass", "drums"]
    before, after = results["peak_gflops_before_and_after"]
    assert min(before, after) <= results["peak_gflops"] <= max(before, after)
    assert results["multiply_add_gflops"] >= results["peak_gflops"]


@pytest.mark.slow
def test_each_computation_has_a_row_for_each_batch_and_the_fastest_stands_for_it(results):
    names = ["encode", "decode", "end_to_end"]
    assert [(row["name"], row["batch"]) for row in results["rows"]] == [(n, b) for b in (1, 2) for n in names]
    for name in names:
        rows = [row for row in results["rows"] if row["name"] == name]
        assert results[name] in rows
        assert results[name]["windows_per_s"] == max(row["windows_per_s"] for row in rows)


@pytest.mark.slow
def test_compiling_takes_longer_than_fetching_what_was_compiled(results):
    cold, warm = (sum(row[key] for row in results["rows"]) for key in ("compile_s", "compile_warm_s"))
    assert cold > 1.5 * warm


@pytest.mark.slow
def test_weights_of_a_tiny_model_come_from_the_cache(results):
    if not results["machine"]["cache_bytes"]:
        pytest.skip("the size of this machine's cache is unknown")
    assert {row["weights_from"] for row in results["rows"]} == {"cache"}
    assert {row["bound"] for row in results["rows"]} <= {"compute", "cache"}


@pytest.mark.slow
def test_table_names_machine_versions_and_every_column(results):
    table = models.table(results)
    assert results["machine"]["processor"] in table
    assert f"jax {results['machine']['jax']}" in table
    assert table.count("\n| ") == 1 + len(results["rows"])
    for column in ("of peak", "bound", "spread", "others", "cold, warm"):
        assert f"* {column}:" in table, "the legend tells it"


@pytest.mark.slow
def test_naive_rows_count_the_same_operations_and_json_is_all_there_is_on_stdout(capsys, tmp_path, results):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(results))
    flags = ["--rows", "encode,naive_encode", "--naive", "--compare", str(earlier), "--json"]
    assert cli.main(["bench", "--preset", "tiny", "--batch-size", "2", "--quick", *flags]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["naive_encode"]["gflop_per_window"] == printed["encode"]["gflop_per_window"]
    ratio = printed["ratio_to_earlier"]["encode 2 windows_per_s"]
    before = next(row for row in results["rows"] if (row["name"], row["batch"]) == ("encode", 2))
    assert ratio * before["windows_per_s"] == pytest.approx(printed["encode"]["windows_per_s"])
    assert "naive_encode 2 windows_per_s" not in printed["ratio_to_earlier"], "the earlier run did not have it"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--preset", "huge"], "--preset"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "8,x"], "--batch-size"),
        (["--repeats", "0"], "--repeats"),
        (["--json", "/no/such/folder/file.json"], "/no/such/folder/file.json"),
        (["--compare", "/no/such/file.json"], "/no/such/file.json"),
        (["--batch-size", "99", "--devices", "99"], "--devices"),
        (["--preset", "tiny", "--rows", "decode,fly"], "fly"),
        (["train", "--batch-size", "6", "--devices", "1,4"], "--batch-size 6 does not divide into 4 devices"),
        (["precision", "--takes", "0"], "--takes must be at least 1"),
        (["poetry"], "poetry"),
    ],
)
def test_wrong_usage_exits_with_two_and_names_the_flag(arguments, word, capsys):
    assert cli.main(["bench", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said


def test_a_picture_that_cannot_be_written_exits_with_one(capsys, tmp_path):
    arguments = ["--preset", "tiny", "--batch-size", "2", "--quick", "--rows", "encode"]
    assert cli.main(["bench", *arguments, "--plot", str(tmp_path / "no" / "x.png")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("section", bench.SECTIONS)
def test_each_section_has_its_help(section, capsys):
    assert cli.main(["bench", section, "--help"]) == 0
    said = capsys.readouterr().out
    assert all(flag in said for flag in ("--json", "--quick", "--compare"))
