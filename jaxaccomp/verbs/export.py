"""Write a checkpoint for other programs.

npz, safetensors   all arrays as float32, by the names of the checkpoint; for NumPy, PyTorch and others
stablehlo          a zip file of programs with the weights inside: encode, surrogate, correlate, sample; any number of
                   rows, on CPU, CUDA and TPU, in a process that has JAX and none of this package

    jaxaccomp export trio-small --out trio.safetensors
    jaxaccomp export trio-small --format stablehlo --out trio.zip
"""

import argparse
from pathlib import Path

from jaxaccomp.errors import UsageError

FORMATS = {"npz": ".npz", "safetensors": ".safetensors", "stablehlo": ".zip"}
"""Each format and the suffix that stands for it."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint folder, or a name such as trio-small")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--format", choices=FORMATS, help="what to write (default: by the suffix of FILE)")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and says what is in it."""
    by_suffix = {suffix: name for name, suffix in FORMATS.items()}
    wanted = arguments.format or by_suffix.get(arguments.out.suffix)
    if wanted is None:
        raise UsageError(
            f"--out {arguments.out}: its suffix stands for no format; give --format {'|'.join(FORMATS)}, "
            f"or one of {', '.join(by_suffix)}"
        )
    if arguments.out.is_dir():
        raise UsageError(f"--out {arguments.out}: is a folder; give the name of a file")
    from jaxaccomp.weights import export

    if wanted == "stablehlo":
        from jaxaccomp.generate import stablehlo

        sizes = stablehlo.write(arguments.checkpoint, arguments.out)
        content = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
    else:
        write = export.to_npz if wanted == "npz" else export.to_safetensors
        content = f"{write(arguments.checkpoint, arguments.out)} arrays"
    told = export.describe(arguments.checkpoint)
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 1e6:.1f} MB): {content}")
    print(f"checkpoint {told['fingerprint'][:16]}")
    return 0
