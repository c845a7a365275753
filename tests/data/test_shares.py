"""Two processes of four devices each do together what one of eight does."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from jaxaccomp.data import shards

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from pathlib import Path
from jaxaccomp import runtime

runtime.join_processes()
import jax
import numpy as np
from jaxaccomp.data import latents, shards
from jaxaccomp.data.batches import Batches

source, checkpoint, out = sys.argv[1:]
wrote, write = [], shards.write_shard
shards.write_shard = lambda file, *rest: (wrote.append(file.name), write(file, *rest))
latents.build(source, checkpoint, Path(out), batch_size=4, shard_count=4)
share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
batches = Batches(out, batch_size=8, seed=1, latent_size=8, **share)
read = np.stack([batches.batch(step)["mean"] for step in range(batches.steps_per_epoch)])
assert len(jax.local_devices()) * jax.process_count() == 8
np.savez(f"{out}/process-{jax.process_index()}.npz", wrote=wrote, read=read)
"""


@pytest.fixture(scope="module")
def together(windows_folder, tiny, tmp_path_factory):
    """What two processes wrote and read, and the folder they shared."""
    out = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(windows_folder), str(tiny), str(out)],
            env=os.environ
            | {
                "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(number),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [dict(np.load(out / f"process-{number}.npz")) for number in range(2)], out


def test_each_process_writes_an_equal_share_of_the_shards(together, latents_folder):
    (first, second), _ = together
    names = {file.name for file in shards.find(latents_folder).glob("*.array_record*")}
    assert not set(first["wrote"]) & set(second["wrote"])
    assert set(first["wrote"]) | set(second["wrote"]) == names
    assert abs(len(first["wrote"]) - len(second["wrote"])) <= 1


def test_two_processes_make_the_dataset_of_one(together, latents_folder):
    mine, theirs = shards.find(together[1]), shards.find(latents_folder)
    assert {file.name: file.read_bytes() for file in mine.iterdir()} == {
        file.name: file.read_bytes() for file in theirs.iterdir()
    }


def test_they_read_disjoint_equal_shares_that_make_up_the_epoch_of_one(together, latents_folder):
    from jaxaccomp.data.batches import Batches

    (first, second), _ = together
    alone = Batches(latents_folder, batch_size=8, seed=1)
    assert first["read"].shape == second["read"].shape == (alone.steps_per_epoch, 4, 8)
    whole = np.stack([alone.batch(step)["mean"] for step in range(alone.steps_per_epoch)])
    assert np.array_equal(np.concatenate([first["read"], second["read"]], axis=1), whole)
    assert not {row.tobytes() for row in first["read"].reshape(-1, 8)} & {
        row.tobytes() for row in second["read"].reshape(-1, 8)
    }
