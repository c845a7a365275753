"""Train the surrogate encoder, or MusicVAE itself: `python train.py surrogate|vae --data DIR --workdir DIR`."""

import sys

from jaxaccomp import cli

if __name__ == "__main__":
    sys.exit(cli.train())
