import json

import pytest

from jaxaccomp import cli
from jaxaccomp.bench import data


@pytest.mark.slow
def test_every_stage_and_the_reader_are_timed(capsys):
    assert (
        cli.main(["bench", "data", "--quick", "--preset", "tiny", "--batch-size", "8", "--workers", "1", "--json"]) == 0
    )
    results = json.loads(capsys.readouterr().out)
    assert results["songs"] == data.QUICK_SONGS
    assert results["windows"] == data.QUICK_SONGS * 4 * 65
    training = results["training"]
    assert set(training["reader"]) == {"latents", "windows, transposed"}
    assert training["reader_over_surrogate"] == training["reader"]["latents"] / training["examples_per_s"]
    assert 0 <= training["waiting_share"] <= 1
    told = data.table(results)
    assert "| MIDI files read into windows, 1 workers |" in told
    assert f"{training['waiting_share']:.2%} of its time waiting for data" in told
