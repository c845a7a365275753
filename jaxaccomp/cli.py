"""Flags → one call: the entry points of `python -m jaxaccomp`, `infer.py` and `train.py`.

Exit codes: 0 all done; 1 something asked for could not be done (one sentence on stderr); 2 wrong usage; 130
interrupted.
"""

import argparse
import difflib
import io
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NoReturn

import jaxaccomp
from jaxaccomp import cluster, remote, runtime
from jaxaccomp.errors import JaxAccompError, UsageError

VERBS = {
    "infer": "play bass and drums to melodies: files, or a whole folder",
    "train": "train MusicVAE, its surrogate encoder, both together, a guide or a critic",
    "port": "port a TensorFlow MusicVAE trio checkpoint",
    "windows": "cut MIDI files into a dataset of 16-bar trio windows",
    "latents": "encode a dataset of windows into a dataset of posteriors",
    "evaluate": "measure a checkpoint on held-out windows",
    "describe": "say what a checkpoint, a training run or a dataset is",
    "bench": "measure throughput against this machine's own peak",
    "show": "draw and describe MIDI files",
    "export": "write a checkpoint for other programs: NumPy, safetensors, StableHLO",
    "latent": "sample, interpolate and reconstruct; directions of attributes",
    "merge": "merge the manifests of a sharded collection run",
}
"""Each verb lives in the module of its name in `jaxaccomp.verbs`; see `_module`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m jaxaccomp VERB …` and the `jaxaccomp` command."""
    _print_anything()
    owns_process = arguments is None
    arguments = list(sys.argv[1:] if owns_process else arguments)
    if arguments and arguments[0] in VERBS:
        return _run(arguments[0], arguments[1:], f"jaxaccomp {arguments[0]}", owns_process)
    width = max(map(len, VERBS))
    parser = _Parser(
        prog="jaxaccomp",
        description="Bass and drums for any melody, in JAX.",
        epilog="verbs:\n" + "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxaccomp {jaxaccomp.__version__}")
    parser.add_argument("verb", nargs="?", metavar="VERB", help="what to do; `jaxaccomp VERB --help` tells its flags")
    try:
        verb = parser.parse_args(arguments[:1]).verb
        if verb is not None:
            parser.error(f"no verb is called {verb!r}" + (_nearest(verb, VERBS) or f"; there are {', '.join(VERBS)}"))
    except SystemExit as stop:
        return int(stop.code or 0)
    parser.print_help(sys.stderr)
    return 2


def infer(arguments: Sequence[str] | None = None) -> int:
    """`python infer.py …`."""
    return _run("infer", sys.argv[1:] if arguments is None else arguments, "infer.py", arguments is None)


def train(arguments: Sequence[str] | None = None) -> int:
    """`python train.py surrogate|vae …`."""
    return _run("train", sys.argv[1:] if arguments is None else arguments, "train.py", arguments is None)


def _run(verb: str, arguments: Sequence[str], program: str, owns_process: bool) -> int:
    _print_anything()
    module = _module(verb)
    parser = _Parser(prog=program, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    try:
        module.add_flags(parser)
        remote.refuse_addresses(parser)
        parser.add_argument("--version", action="version", version=f"jaxaccomp {jaxaccomp.__version__}")
        parser.set_defaults(owns_process=owns_process)  # a verb may start its own process anew, but not a caller's
        return module.run(parser.parse_args(arguments))
    except SystemExit as stop:  # argparse: --help, or a flag it does not know
        return int(stop.code or 0)
    except UsageError as error:
        return _failed(program, 2, str(error), owns_process)
    except JaxAccompError as error:
        return _failed(program, 1, str(error), owns_process)
    except KeyboardInterrupt:
        return _failed(program, 130, "interrupted", owns_process)
    except BrokenPipeError:  # `… | head` has seen enough; keep the interpreter's own flush at exit from complaining
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        said = runtime.sentence(error)
        if said is None:
            if owns_process and cluster.size() > 1:
                traceback.print_exc()
                cluster.leave(1, f"{type(error).__name__}: {error}")
            raise
        return _failed(program, 1, said, owns_process)


def _failed(program: str, code: int, said: str, owns_process: bool) -> int:
    print(f"{program}: {said}", file=sys.stderr)
    if owns_process:
        cluster.leave(code, said)  # one of several processes does not wait for the others
    return code


def _module(verb: str) -> ModuleType:
    """A verb's module, imported when asked for, since some take seconds; written out, so that tools can follow."""
    match verb:
        case "infer":
            from jaxaccomp.verbs import infer as module
        case "train":
            from jaxaccomp.verbs import train as module
        case "port":
            from jaxaccomp.verbs import port as module
        case "windows":
            from jaxaccomp.verbs import windows as module
        case "latents":
            from jaxaccomp.verbs import latents as module
        case "evaluate":
            from jaxaccomp.verbs import evaluate as module
        case "describe":
            from jaxaccomp.verbs import describe as module
        case "bench":
            from jaxaccomp.verbs import bench as module
        case "show":
            from jaxaccomp.verbs import show as module
        case "merge":
            from jaxaccomp.verbs import merge as module
        case "export":
            from jaxaccomp.verbs import export as module
        case "latent":
            from jaxaccomp.verbs import latent as module
        case _:
            raise UsageError(f"no verb is called {verb}; there are {', '.join(VERBS)}")
    return module


class _Parser(argparse.ArgumentParser):
    """Names the flag that was perhaps meant."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()
        flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        if unknown and message.startswith("unrecognized") and flags:
            message += _nearest(flags[0], self._option_string_actions)
        super().error(message)


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _print_anything() -> None:
    """Lets a terminal that knows ASCII alone, or a file name that is no text, cost a few escapes instead of a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
