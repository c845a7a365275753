"""Processes find each other by what Slurm and Open MPI tell each of them; Cloud TPU's way is in tests/training."""

import subprocess
import sys

import emulators
import pytest

_MEETING = """
from jaxaccomp import cluster, runtime

runtime.join_processes()
found = cluster.agree(lambda: {"step": 3}, "a meeting")
print(cluster.index(), cluster.size(), found["step"])
cluster.finish("the end")
"""


def slurm(rank: int) -> dict[str, str]:
    names = {"JOB_ID": "4711", "STEP_NODELIST": "localhost", "STEP_NUM_NODES": "1", "NTASKS": "2"}
    return {f"SLURM_{name}": value for name, value in {**names, "PROCID": str(rank), "LOCALID": str(rank)}.items()}


def open_mpi(rank: int) -> dict[str, str]:
    place = {"SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    names = {f"OMPI_COMM_WORLD_{name}": value for name, value in place.items()}
    return {"OMPI_MCA_orte_hnp_uri": "11874304.0;tcp://127.0.0.1:34911", **names}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [slurm, open_mpi])
def test_processes_of_a_launcher_meet_and_agree(launcher):
    port = {"JAX_COORDINATOR_PORT": str(emulators.free_port()), "JAX_PLATFORMS": "cpu"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _MEETING],
            env={**emulators.plain_environment(), **port, **launcher(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=300) for worker in workers]
    assert [out.split() for out, _ in said] == [["0", "2", "3"], ["1", "2", "3"]], said
    assert [worker.returncode for worker in workers] == [0, 0], said
