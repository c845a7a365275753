"""TensorFlow's MusicVAE trio → parameters: a table of names, and a check that reports everything at once.

Layouts are equal on both sides (one fused LSTM kernel, gates i, j, f, o), so porting renames and never reshapes. The
table has 42 rows for the original's two layers a stack; it is generated from sizes, which are read from the shapes.

Source: variable names of magenta `hierdec-trio_16bar` @526d3eb.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxaccomp.arrays import PARTS, Params
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.errors import PortingError
from jaxaccomp.models import musicvae
from jaxaccomp.weights import tensorbundle

RULES = (
    (r"encoder/layer_(\d+)/forward", r"encoder/cell_\1/bidirectional_rnn/fw/multi_rnn_cell/cell_0/lstm_cell"),
    (r"encoder/layer_(\d+)/backward", r"encoder/cell_\1/bidirectional_rnn/bw/multi_rnn_cell/cell_0/lstm_cell"),
    (r"mean", r"encoder/mu"),
    (r"scale", r"encoder/sigma"),
    (r"conductor/initial_state", r"decoder/hierarchical_level_0/initial_state"),
    (r"conductor/layer_(\d+)", r"decoder/hierarchical_level_0/cell_\1/lstm_cell"),
    *(
        (rf"decoder_{part}/{ours}", rf"core_decoder/core_decoder_{number}/decoder/{theirs}")
        for number, part in enumerate(PARTS)
        for ours, theirs in (
            (r"initial_state", r"z_to_initial_state"),
            (r"layer_(\d+)", r"multi_rnn_cell/cell_\1/lstm_cell"),
            (r"output", r"output_projection"),
        )
    ),
)
"""Where a layer lies in the parameters, and its scope in TensorFlow; both sides say `kernel` and `bias`."""

_NO_WEIGHT = re.compile(r"global_step|beta[12]_power|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH")


class Variable(NamedTuple):
    """One variable: its name in TensorFlow, its path in the parameters, and the shape it has in both."""

    source: str
    path: str
    shape: tuple[int, ...]


def table(config: MusicVAEConfig) -> tuple[Variable, ...]:
    """Every variable of a MusicVAE of these sizes."""
    return tuple(
        Variable(_source(path), path, shape) for path, shape in flatten_dict(musicvae.shapes(config), sep="/").items()
    )


def _source(path: str) -> str:
    layer, leaf = path.rsplit("/", 1)
    for ours, theirs in RULES:
        if re.fullmatch(ours, layer):
            return f"{re.sub(ours, theirs, layer)}/{leaf}"
    raise ValueError(f"no rule for the parameter {path}")


def port(path: str | PathLike, *, ignore_extra: bool = False) -> tuple[MusicVAEConfig, Params]:
    """Reads a TensorFlow checkpoint of a MusicVAE trio of any size.

    Optimiser slots, `global_step` and the like are left out.

    Args:
        path: Magenta's `.tar`, a folder, or a checkpoint prefix.
        ignore_extra: whether variables of unknown names are left out too, instead of refused.

    Returns:
        The sizes and the parameters, float32 arrays on the host.

    Raises:
        TensorBundleError: the files are damaged.
        PortingError: variables are missing, unknown, used twice, or of another shape or type; all of them are listed.
    """
    bundle = tensorbundle.Bundle(path)
    config = sizes(bundle.entries, bundle.name)
    rows = table(config)
    check(rows, bundle.entries, bundle.name, ignore_extra)
    return config, params_from_names({row.source: bundle.read(row.source) for row in rows}, rows)


def sizes(variables: Mapping[str, tensorbundle.Entry], where: str) -> MusicVAEConfig:
    """Reads layer sizes from the variables' shapes; where they contradict each other, the majority counts.

    Raises:
        PortingError: some layer has no variable at all, so that this is no MusicVAE trio.
    """

    def votes(scope: str, leaf: str = r"kernel|bias", per_unit: int = 4) -> list[int]:
        pattern = re.compile(rf"{scope}/(?:{leaf})")
        found = [entry.shape[-1] for name, entry in variables.items() if pattern.fullmatch(name) and entry.shape]
        return [size // per_unit for size in found if size and size % per_unit == 0]

    def stack(scope: str) -> tuple[int, ...]:
        layers: list[int] = []
        while found := votes(scope.format(len(layers))):
            layers.append(Counter(found).most_common(1)[0][0])
        return tuple(layers)

    encoder = stack(r"encoder/cell_{}/bidirectional_rnn/(?:fw|bw)/multi_rnn_cell/cell_0/lstm_cell")
    conductor = stack(r"decoder/hierarchical_level_0/cell_{}/lstm_cell")
    decoder = stack(r"core_decoder/core_decoder_[012]/decoder/multi_rnn_cell/cell_{}/lstm_cell")
    latent = votes(r"encoder/(?:mu|sigma)", per_unit=1)
    if not (encoder and conductor and decoder and latent):
        example = table(MusicVAEConfig())
        missing = [row.source for row in example if row.source not in variables]
        raise PortingError(
            f"{where}: expected the variables of a hierarchical MusicVAE trio, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing among its {len(variables)} variables; "
            "port a checkpoint of hierdec-trio_16bar"
        )
    return MusicVAEConfig(
        encoder_sizes=encoder,
        conductor_sizes=conductor,
        decoder_sizes=decoder,
        latent_size=Counter(latent).most_common(1)[0][0],
    )


def check(
    rows: Sequence[Variable],
    variables: Mapping[str, tensorbundle.Entry],
    where: str,
    ignore_extra: bool = False,
) -> None:
    """Compares the table with what is there.

    Raises:
        PortingError: they differ; the message lists every difference.
    """
    known = {row.source for row in rows}
    problems = []
    for label, counts in (
        ("read twice", Counter(row.source for row in rows)),
        ("filled twice", Counter(row.path for row in rows)),
    ):
        problems += [f"{name} is {label}" for name, count in counts.items() if count > 1]
    problems += [f"{row.source} is missing" for row in rows if row.source not in variables]
    for row in rows:
        if row.source not in variables:
            continue
        entry = variables[row.source]
        if entry.shape != row.shape:
            problems.append(f"{row.source} should have shape {list(row.shape)}, has {list(entry.shape)}")
        if entry.dtype != np.float32:
            problems.append(f"{row.source} should be float32, is {entry.dtype or 'of an unknown type'}")
    extra = [name for name in variables if name not in known and not _is_slot(name, known)]
    if not ignore_extra:
        problems += [f"{name} is not in this architecture" for name in extra]
    if problems:
        advice = "port a checkpoint of hierdec-trio_16bar"
        raise PortingError(
            f"{where}: is no hierarchical MusicVAE trio ({len(problems)} differences): {'; '.join(problems)}; "
            + (advice if ignore_extra else f"{advice}, or ignore extra variables if nothing else differs")
        )


def _is_slot(name: str, known: set[str]) -> bool:
    return bool(_NO_WEIGHT.fullmatch(name)) or any(name[:at] in known for at in _slashes(name))


def _slashes(name: str) -> Iterator[int]:
    return (at for at, letter in enumerate(name) if letter == "/")


def params_from_names(arrays: Mapping[str, np.ndarray], rows: Sequence[Variable]) -> Params:
    """Arrays by TensorFlow name → nested parameters."""
    return unflatten_dict({row.path: arrays[row.source] for row in rows}, sep="/")


def names_from_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Nested parameters → arrays by TensorFlow name; the way back."""
    return {_source(path): leaf for path, leaf in flatten_dict(params, sep="/").items()}
