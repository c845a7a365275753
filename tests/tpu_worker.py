"""`python tpu_worker.py train …`: the command line on a VM of a TPU slice whose chips are missing.

JAX asks no metadata server where it finds no chip, and says so in the environment; this takes the word back, so that
everything from there on goes the way it does on such a VM, on CPU devices.
"""

import os
import sys

import jax  # noqa: F401

os.environ.pop("TPU_SKIP_MDS_QUERY", None)

from jaxaccomp import cli

if __name__ == "__main__":
    sys.exit(cli.train() if sys.argv.pop(1) == "train" else 2)
