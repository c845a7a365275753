import json

import pytest

from jaxaccomp.bench import everything
from jaxaccomp.bench.everything import Step
from jaxaccomp.bench.settings import EverythingConfig
from jaxaccomp.errors import UsageError


@pytest.mark.slow
def test_each_step_leaves_its_results_and_a_failure_stops_none(tmp_path, monkeypatch):
    steps = (
        Step("no such row", "--preset tiny --rows nothing --quick"),
        Step("a tiny model", "--preset tiny --batch-size 1 --rows encode --quick"),
    )
    monkeypatch.setattr(everything, "_ON_CPU", steps)
    results = everything.measure(EverythingConfig(out=tmp_path / "new", minutes=5.0))
    assert "no row 'nothing'" in results["steps"]["no such row"]["failed"]
    assert results["steps"]["a tiny model"]["results"]["encode"]["windows_per_s"] > 0
    assert json.loads((tmp_path / "new" / everything.RESULTS).read_text()) == json.loads(json.dumps(results))
    tables = (tmp_path / "new" / everything.TABLES).read_text()
    assert "## A tiny model" in tables
    assert "| encode | 1 |" in tables


def test_what_no_time_is_left_for_is_named(tmp_path):
    results = everything.measure(EverythingConfig(out=tmp_path, minutes=0.01))
    assert results["left_out"] == [step.name for step in everything._ON_CPU]
    assert "No time was left for: default" in everything.table(results)


def test_quick_steps_are_small():
    config = EverythingConfig(quick=True)
    for step in (*everything._ON_CPU, *everything._ON_ACCELERATOR):
        words = everything._arguments(step, config).split()
        assert words[-1] == "--quick"
        assert words.count("--quick") == 1
        assert everything._FULL not in words
        assert ("tiny" in words) == (words[0] not in ("collection", "startup"))
        if "--batch-size" in words:
            assert int(words[words.index("--batch-size") + 1]) <= 8


def test_called_again_it_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    ran = []

    def run(step, config, limit_s):
        ran.append(step.name)
        if step.name == "start-up" and len(ran) < 5:
            return {"failed": "no memory", "said": []}
        return {"section": "jaxaccomp.bench.startup", "took_s": 1.0, "bench": step.arguments, "results": {}}

    monkeypatch.setattr(everything, "_run", run)
    monkeypatch.setattr(everything, "table", lambda results: "")
    steps = (Step("default", ""), Step("start-up", "startup"), Step("full size", ""))
    monkeypatch.setattr(everything, "_ON_CPU", steps)
    everything.measure(EverythingConfig(out=tmp_path, steps="cpu"))
    assert ran == ["default", "start-up", "full size"]
    monkeypatch.setattr(everything, "_ON_CPU", (*steps, Step("collection", "collection")))
    again = everything.measure(EverythingConfig(out=tmp_path, steps="cpu"))
    assert ran[3:] == ["collection", "start-up"]  # what failed comes last
    assert all("results" in step for step in again["steps"].values())
    with pytest.raises(UsageError, match="the results there have steps_of cpu, this run accelerator"):
        everything.measure(EverythingConfig(out=tmp_path, steps="accelerator"))


def test_a_step_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    step = Step("long", "startup --repeats 1")
    found = everything._run(step, EverythingConfig(out=tmp_path), 1.5)
    assert found["failed"].startswith("was ended after 2 s")
