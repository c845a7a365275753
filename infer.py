"""Play bass and drums to a melody: `python infer.py song.mid --out DIR`."""

import sys

from jaxaccomp import cli

if __name__ == "__main__":
    sys.exit(cli.infer())
