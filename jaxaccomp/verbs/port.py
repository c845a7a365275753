"""Port a TensorFlow MusicVAE trio checkpoint into one of this program's own.

SRC is Magenta's .tar archive, a folder, a checkpoint prefix, or the http(s) address of a .tar archive, which is fetched
first; an interrupted download continues when the command is repeated. Layer sizes are read from the checkpoint.
"""

import argparse
from pathlib import Path

from jaxaccomp import files, remote
from jaxaccomp.config import DTYPES
from jaxaccomp.errors import UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `port`."""
    parser.add_argument("source", metavar="SRC", help="a .tar archive, a folder, a prefix, or an http(s) address")
    parser.add_argument("--out", type=remote.path, metavar="DIR", help="the checkpoint folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the arrays on disk (default: float32)")
    parser.add_argument("--sha256", metavar="HEX", help="what the fetched or given archive's SHA-256 must be")
    parser.add_argument(
        "--downloads",
        type=Path,
        metavar="DIR",
        default=files.cache_folder(),
        help="where a fetched archive is kept (default: %(default)s)",
    )
    parser.add_argument(
        "--ignore-extra", action="store_true", help="leave out variables of unknown names instead of refusing them"
    )
    parser.add_argument(
        "--verify", type=Path, metavar="GOLDEN", help="print how far the ported model is from TensorFlow's own numbers"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ports; returns 1 if `--verify` finds a difference beyond its bound."""
    import jax

    from jaxaccomp.weights import checkpoint, download, porting, tensorbundle

    if arguments.out is None and arguments.verify is None:
        raise UsageError("nothing to do with the ported weights: give --out DIR, --verify GOLDEN, or both")
    source = arguments.source
    if download.is_url(source):
        path = download.fetch(source, arguments.downloads, arguments.sha256)
        print(f"fetched {source} to {path}; it is no longer needed after this")
    else:
        path = remote.here(source if remote.scheme(source) is None else remote.path(source), "sources")
        if arguments.sha256 is not None:
            download.check(source, path, arguments.sha256)
    config, params = porting.port(path, ignore_extra=arguments.ignore_extra)
    leaves = jax.tree.leaves(params)
    print(f"read {len(leaves)} variables, {sum(leaf.size for leaf in leaves):,} parameters")
    if arguments.out is not None:
        provenance = {"source": source, "sha256": download.sha256_of(*tensorbundle.Bundle(path).files)}
        out = remote.stand_in(arguments.out, "written") if remote.is_remote(arguments.out) else arguments.out
        checkpoint.save(out, config, params, dtype=arguments.dtype, provenance=provenance)
        if remote.is_remote(arguments.out):
            remote.replace_folder(out, arguments.out, checkpoint.RECORD)
        print(f"wrote {arguments.out}, fingerprint {checkpoint.fingerprint(out)}")
    if arguments.verify is not None:
        from jaxaccomp.evaluation import parity

        measured = parity.measure(config, params, arguments.verify)
        print(parity.table(measured))
        return 0 if all(row.difference <= row.bound for row in measured) else 1
    return 0
