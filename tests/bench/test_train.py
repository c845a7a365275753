"""The bench of training steps, at a size that tells nothing but that it runs."""

import json

import pytest

from jaxaccomp import cli


@pytest.mark.slow
def test_it_measures_each_number_of_devices_in_a_process_of_its_own(capsys):
    flags = ["--preset", "tiny", "--batch-size", "2", "--devices", "2", "--quick", "--steps", "1", "--no-naive"]
    assert cli.main(["bench", "train", *flags, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in results["rows"]] == ["vae", "surrogate, KL", "surrogate, decoder"]
    for row in results["rows"]:
        assert row["devices"] == row["batch"] == 2
        assert 0 < row["fraction_of_peak"] < 1
        assert 0 <= row["waiting"] <= 1
