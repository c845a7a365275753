"""Which settings a run may go on with."""

import json

import pytest

from jaxaccomp.errors import UsageError
from jaxaccomp.training.resuming import require_same_run
from jaxaccomp.training.run_folder import RunFolder

BEGUN = {"objective": "joint", "data": "songs", "steps": 100, "seed": 3, "drum_mix": 0.4}


@pytest.fixture
def run(tmp_path) -> RunFolder:
    (tmp_path / "config.json").write_text(json.dumps(BEGUN))
    return RunFolder(tmp_path)


def test_a_run_goes_on_where_settings_that_came_later_do_nothing(run):
    require_same_run(run, {**BEGUN, "steps": 200, "half_time": 0.0, "groove": None}, False)


@pytest.mark.parametrize("change", [{"half_time": 0.2}, {"drum_mix": 0.0}, {"seed": 0}])
def test_a_run_does_not_go_on_with_another_setting(run, change):
    (name, value), *_ = change.items()
    with pytest.raises(UsageError, match=rf"started with {name} .*, now it is {value}; resume with the same settings"):
        require_same_run(run, {**BEGUN, **change}, False)
