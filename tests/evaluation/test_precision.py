import json

import pytest

from jaxaccomp import cli


@pytest.mark.slow
def test_rounding_is_felt_but_changes_little(tiny_checkpoint, capsys):
    command = ["bench", "precision", "--checkpoint", str(tiny_checkpoint), "--takes", "1", "--json"]
    assert cli.main(command) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["windows"] > 10
    assert [row["part"] for row in results["rows"]] == ["melody", "bass", "drums"]
    for row in results["rows"]:
        assert 0.95 < row["same_likeliest"] <= 1
        assert 0 < row["kl_nats"] <= row["largest_kl_nats"] < 0.05
        assert row["windows_all_the_same"] <= row["same_greedy"] <= 1
