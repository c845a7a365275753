"""`python -m jaxaccomp VERB`."""

import sys

from jaxaccomp import cli

if __name__ == "__main__":
    sys.exit(cli.main())
