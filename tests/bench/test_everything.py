import json

import pytest

from jaxaccomp.bench import everything
from jaxaccomp.bench.everything import Step
from jaxaccomp.bench.settings import EverythingConfig


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
        assert everything._FULL not in words
        if "--batch-size" in words:
            assert int(words[words.index("--batch-size") + 1]) <= 512
