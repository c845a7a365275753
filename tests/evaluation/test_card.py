import json

import pytest

from jaxaccomp import cli
from jaxaccomp.evaluation import card
from jaxaccomp.weights import checkpoint


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory, tiny_model):
    return checkpoint.save(tmp_path_factory.mktemp("checkpoints") / "tiny-band", *tiny_model)


@pytest.fixture
def evaluate(checkpoint_folder, latents_folder, capsys):
    def call(*arguments, data=True):
        source = ["--data", str(latents_folder), "--samples", "3", "--batch-size", "4"] if data else []
        code = cli.main(["evaluate", "--checkpoint", str(checkpoint_folder), *source, *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def results(checkpoint_folder, latents_folder, tmp_path_factory):
    """Figures of one evaluation, in a file."""
    file = tmp_path_factory.mktemp("results") / "new" / "results.json"
    data = ["--data", str(latents_folder), "--samples", "3", "--batch-size", "4", "--temperature", "0.4,0.2"]
    assert cli.main(["evaluate", "--checkpoint", str(checkpoint_folder), *data, "--out", str(file)]) == 0
    return file


def test_writes_the_contracts_keys(results):
    report = json.loads(results.read_text())
    assert report["windows"] == 10
    for source in ("encoder", "surrogate", "prior_mean", "shuffled"):
        assert {"bass", "drums"} <= set(report["nll"][source])
    assert set(report["gap_closed"]) == {"bass", "drums"}
    assert report["temperature"] == {"bass": 0.4, "drums": 0.2}
    assert report["splits"] == ["test"]
    assert [file.name for file in results.parent.iterdir()] == ["results.json"]


def test_prints_tables_or_json(evaluate):
    code, out, _ = evaluate("--limit", 6)
    assert code == 0
    assert "6 of 10 windows" in out
    assert "| encoder (ceiling)" in out
    code, out, err = evaluate("--json", "--split", "validation,test", "--limit", 0)
    assert code == 0
    assert json.loads(out)["windows"] == 14
    assert "Traceback" not in err


def test_tables_line_up_and_show_the_figures(results):
    report = json.loads(results.read_text())
    text = card.summary(report)
    for table in [block for block in text.split("\n\n") if block.startswith("|")]:
        assert len({len(line) for line in table.splitlines()}) == 1
    assert f"{report['nll']['encoder']['bass']:.1f}" in text
    assert f"{report['statistics']['real']['drum_hits_per_bar']:.2f}" in text
    assert "temperature bass, drums" not in text  # there was no sweep


def test_a_checkpoint_without_surrogate_has_tables_too(results):
    report = json.loads(results.read_text())
    for table in ("nll", "statistics", "overlap"):
        report[table] |= {"surrogate": None, "surrogate_sample": None}
    report |= {"gap_closed": None, "gap_closed_interval": None}
    report["latent"] |= dict.fromkeys(("r_squared", "cosine", "kl_to_surrogate", "calibration"))
    text = card.summary(report)
    assert "surrogate, mean" not in text
    assert "cosine" not in text
    assert "encoder (ceiling)" in text


def test_latents_of_another_encoder_are_told_in_the_card(results):
    report = json.loads(results.read_text()) | {"latents_are_this_encoders": False}
    assert "not made by this checkpoint's encoder" in card.summary(report)


def test_the_card_tells_model_runs_and_figures(evaluate, results, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"objective": "surrogate", "batch_size": 32, "learning_rate": 0.002}))
    lines = [
        {"step": 100, "loss": 9.0, "examples_per_s": 400.0},
        {"step": 100, "validation": 650.5},
        {"step": 200, "loss": 8.0, "examples_per_s": 400.0},
        {"step": 200, "validation": 660.0},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 3')
    (tmp_path / "about.md").write_text("## Data\n\nTwo nursery rhymes, CC0.\n")
    flags = ["--card", tmp_path / "card.md", "--about", tmp_path / "about.md", "--run", run, "--machine", "an abacus"]
    code, _, _ = evaluate("--results", results, "--baseline", results, *flags, data=False)
    assert code == 0
    text = (tmp_path / "card.md").read_text()
    assert text.startswith("# tiny-band\n")
    assert "Two nursery rhymes, CC0." in text
    assert "encoder 16 + 16 (bidirectional), conductor 24 + 24, decoders 24 + 24, z 8" in text
    assert "### surrogate" in text
    assert "200 steps of 32 windows, 6,400 windows in all" in text
    assert "400 windows/s (median), 0 min in all, on an abacus" in text
    assert "best on validation songs at step 100: 650.50" in text
    assert "`learning_rate` 0.002" in text
    assert "--limit 10 --samples 3 --temperature 0.4,0.2 --spread 1 --seed 0" in text
    assert "Baseline: `" in text
    assert "baseline, mean" in text
    assert json.loads(results.read_text())["fingerprint"][:16] in text


def test_a_surrogate_trained_apart_is_shown_beside_and_must_be_of_this_musicvae(evaluate, results, tmp_path):
    report = json.loads(results.read_text())
    report["latent"]["cosine"] = 0.125
    report["nll"]["encoder"] = dict(reversed(report["nll"]["encoder"].items()))  # the order of names does not matter
    apart = tmp_path / "apart.json"
    apart.write_text(json.dumps(report))
    code, said, _ = evaluate("--results", results, "--surrogate", apart, "--baseline", results, data=False)
    assert code == 0
    (head,) = (line for line in said.splitlines() if "surrogate trained apart" in line and line.startswith("|"))
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["", "this", "surrogate trained apart", "baseline"]
    (cosine,) = (line for line in said.splitlines() if line.startswith("| cosine"))
    assert cosine.split("|")[3].strip() == "0.125"
    report["nll"]["encoder"]["bass"] *= 1.1
    apart.write_text(json.dumps(report))
    code, _, err = evaluate("--results", results, "--surrogate", apart, data=False)
    assert code == 1
    assert "figures of another MusicVAE, or of other windows" in err


def test_figures_of_another_checkpoint_make_no_card(evaluate, results, tmp_path):
    report = json.loads(results.read_text()) | {"fingerprint": "0" * 64}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(report))
    code, _, err = evaluate("--results", other, "--card", tmp_path / "card.md", data=False)
    assert code == 1
    assert "these figures are of another checkpoint" in err
    assert not (tmp_path / "card.md").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give either --data"),
        (["--data", "x", "--results", "y"], 2, "give either --data"),
        (["--data", "lost"], 1, "no finished dataset here"),
        (["--results", "lost.json"], 1, "lost.json: cannot be read"),
        (["--data", "x", "--samples", "0"], 2, "--samples must be 1 or more"),
        (["--data", "x", "--temperature", "1,2,3"], 2, "expected 2 values"),
        (["--data", "x", "--spread", "-1"], 2, "expected 1 values of 0 or more"),
    ],
)
def test_refusals(evaluate, arguments, code, says):
    found, _, err = evaluate(*arguments, data=False)
    assert found == code
    assert says in err
    assert "Traceback" not in err


def test_an_unwritable_place_is_told(evaluate, results, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = evaluate("--results", results, "--out", tmp_path / "file" / "x.json", data=False)
    assert code == 1
    assert "cannot be written" in err
