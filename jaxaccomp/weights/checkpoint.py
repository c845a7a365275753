"""Checkpoints: orbax arrays with a record beside them, found by name or by path.

    CHECKPOINT/config.json    format version, sizes, shape and checksum of every array, provenance
    CHECKPOINT/arrays/        the parameters, written by orbax
    CHECKPOINT/card.md        how good it is (written by `evaluate`, absent at first)

A checkpoint holds a MusicVAE and, once trained, the surrogate encoder of its latent, the correlation of its draws,
the experts that guide its bass and the critic of its takes. Loading fills the shapes that the configuration asks for,
so it never draws a random number, and it compares every array with its checksum.
"""

import hashlib
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jax
import ml_dtypes
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import jaxaccomp
from jaxaccomp.arrays import Params
from jaxaccomp.config import ModelConfig, MusicVAEConfig, from_json, require, to_json
from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.models import correlation, critic, guide, musicvae, surrogate
from jaxaccomp.weights import allocator, fetched

FORMAT_VERSION = 1
"""Version of the folder's layout and of config.json; raised when an older program could misread a newer folder."""
DEFAULT = "trio-small"
"""Name of the checkpoint that ships."""
OPTIONAL = ("guide", "critic", "correlation")
"""Entries beside `musicvae` and `surrogate`, absent from configuration and parameters where there are none."""
RECORD = "config.json"
ARRAYS = "arrays"
FILE_BYTES = 40 * 2**20
"""Aimed size of one data file, so that a checkpoint can live in git."""
GROUP_BYTES = 64 * 2**20
"""Arrays read at a time: what orbax holds twice while it reads."""
LARGE_BYTES = 256 * 2**20
"""Size from which on a load minds what the C library keeps."""

_PACKAGE = Path(jaxaccomp.__file__).parent
CHECKPOINT_FOLDERS = (_PACKAGE.parent / "checkpoints", _PACKAGE / "checkpoints")
"""Where names are looked up: the repository's checkpoints/, then the installed package's."""

DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
"""Types of the arrays on disk."""


def save(
    path: str | os.PathLike,
    config: MusicVAEConfig | ModelConfig,
    params: Params,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint; it appears under its name complete, or not at all.

    A checkpoint that is already there is replaced, its card with it. In a run of several processes, process 0 writes
    and the others return at once.

    Args:
        path: the folder to be.
        config: of a MusicVAE alone, or of a MusicVAE and its surrogate.
        params: the MusicVAE's parameters, or `{"musicvae": …, "surrogate": … or None}` and any of `OPTIONAL` for a
            ModelConfig.
        dtype: of the arrays on disk; bfloat16 halves the size and rounds each value to 8 significant bits.
        provenance: where the parameters come from, e.g. `source` and its `sha256`; date and code version are added.

    Returns:
        The folder.

    Raises:
        CheckpointError: the parameters do not fit the configuration, or `path` is taken by something else.
        ConfigError: another dtype.
    """
    path = Path(path).absolute()
    require(dtype in DTYPES, f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}")
    if isinstance(config, MusicVAEConfig):
        config, params = ModelConfig(musicvae=config), {"musicvae": params}
    leaves = flatten_dict({part: tree for part, tree in params.items() if tree is not None}, sep="/")
    _compare(f"{path}: cannot save", shapes_of(config), {name: np.shape(leaf) for name, leaf in leaves.items()})
    if jax.process_index() != 0:
        return path
    if path.exists() and not (path / RECORD).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise CheckpointError(f"{path}: exists and is no checkpoint; choose another folder or remove it")
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}  # on CPU a view
    entry = {
        "format_version": FORMAT_VERSION,
        "config": _without_absent(to_json(config)),
        "dtype": dtype,
        "arrays": {
            name: {"shape": list(array.shape), "crc32": _crc32(array.astype(DTYPES[dtype], copy=False))}
            for name, array in sorted(arrays.items())
        },
        "provenance": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "code_version": jaxaccomp.__version__,
            **(provenance or {}),
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
            draft = Path(scratch) / "new"
            draft.mkdir()
            _write(draft / ARRAYS, arrays, dtype)
            entry["files"] = _checksums(draft / ARRAYS)
            (draft / RECORD).write_text(json.dumps(entry, indent=1) + "\n")
            if path.exists():
                path.rename(Path(scratch) / "old")
            draft.rename(path)
    except (OSError, ValueError, RuntimeError) as error:  # tensorstore's are no OSErrors, also where a disk is full
        reason = str(error).strip().split("\n")[0][-200:]
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({reason}); free the place or choose another"
        ) from error
    return path


def load(
    path_or_name: str | os.PathLike = DEFAULT, *, sharding: jax.sharding.Sharding | None = None
) -> tuple[ModelConfig, Params]:
    """Reads a checkpoint's parameters as float32 arrays.

    Args:
        path_or_name: a folder, here or at a gs://, s3:// or https:// address, or the name of one on
            `CHECKPOINT_FOLDERS`.
        sharding: where each array goes, e.g. replicated over a mesh; the default device if None. The devices that
            wrote the checkpoint do not matter.

    Returns:
        The configuration, and `{"musicvae": params, "surrogate": params or None}` with an entry more for each of
        `OPTIONAL` that there is.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged; the message names the array.
    """
    path = resolve(path_or_name)
    entry = record(path)
    config = _config(path, entry)
    expected = shapes_of(config)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    large = 4 * sum(math.prod(shape) for shape in expected.values()) > LARGE_BYTES
    with allocator.frugal() if large else nullcontext():
        leaves = _leaves(path, entry, expected, sharding)
    return config, {"surrogate": None, **unflatten_dict(leaves, sep="/")}


def shapes(path_or_name: str | os.PathLike = DEFAULT) -> tuple[ModelConfig, Params]:
    """The configuration and the parameters' shapes (`jax.ShapeDtypeStruct`), touching no array and no device."""
    path = resolve(path_or_name)
    config = _config(path, record(path))
    tree = unflatten_dict(
        {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes_of(config).items()}, sep="/"
    )
    return config, {"surrogate": None, **tree}


def fingerprint(path_or_name: str | os.PathLike = DEFAULT, part: str | None = None) -> str:
    """A checkpoint's identity: 64 hexadecimal digits that depend on its sizes and values, not on place or date.

    Made from the arrays' checksums in config.json, which `load` compares with the arrays.

    Args:
        path_or_name: the checkpoint.
        part: one of its models, e.g. `musicvae`, whatever else is in there; None: all of it.
    """
    entry = record(resolve(path_or_name))
    content = {key: entry[key] for key in ("format_version", "config", "arrays")}
    if part is not None:
        content["config"] = entry["config"].get(part)
        content["arrays"] = {name: array for name, array in entry["arrays"].items() if name.startswith(f"{part}/")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def names() -> list[str]:
    """Names of the checkpoints on `CHECKPOINT_FOLDERS`."""
    return sorted({folder.parent.name for place in CHECKPOINT_FOLDERS for folder in place.glob(f"*/{RECORD}")})


def resolve(path_or_name: str | os.PathLike) -> Path:
    """The folder of a checkpoint given by path or by name; a path wins. From elsewhere it is copied here.

    Raises:
        CheckpointError: neither; the message lists the names there are.
        RemoteError, DownloadError: an address of a bucket or a server does not answer.
    """
    path_or_name = fetched.local(path_or_name)
    path = Path(path_or_name)
    if (path / RECORD).is_file() and not (path / "checkpoint" / RECORD).is_file():  # a run has a config.json, too
        return path.absolute()
    if path.name == str(path_or_name):
        for place in CHECKPOINT_FOLDERS:
            if (place / path / RECORD).is_file():
                return place / path
    if (path / "checkpoint" / RECORD).is_file():
        raise CheckpointError(f"{path}: is the folder of a training run; its checkpoint is {path / 'checkpoint'}")
    if path.exists():
        foreign = path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.index")))
        advice = f"port it first: python -m jaxaccomp port {path} --out DIR" if foreign else f"it lacks {RECORD}"
        raise CheckpointError(f"{path}: is no checkpoint of this program; {advice}")
    known = ", ".join(names()) or "none"
    raise CheckpointError(f"{path}: no such checkpoint; give a checkpoint folder or one of the names here: {known}")


def record(path: Path) -> dict[str, Any]:
    """What config.json says: format version, config, dtype, arrays, files, provenance.

    Raises:
        CheckpointError: it cannot be read, lacks an entry, or is of another format version.
    """
    file = path / RECORD
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: cannot be read as JSON ({error}); fetch or export the checkpoint again"
        ) from error
    version = entry.get("format_version") if isinstance(entry, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: expected format_version {FORMAT_VERSION}, got {version!r}; "
            "use the version of jaxaccomp that wrote it, or export it again"
        )
    arrays = entry.get("arrays")
    sound = isinstance(arrays, dict) and all(
        isinstance(item, dict) and isinstance(item.get("shape"), list) and isinstance(item.get("crc32"), int)
        for item in arrays.values()
    )
    for key, good in {
        "arrays": sound,
        "config": isinstance(entry.get("config"), dict),
        "dtype": entry.get("dtype") in DTYPES,
        "files": isinstance(entry.get("files"), dict),
        "provenance": isinstance(entry.get("provenance"), dict),
    }.items():
        if not good:
            raise CheckpointError(f"{file}: the entry {key!r} is missing or malformed; fetch the checkpoint again")
    return entry


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a model, by its path, e.g. `musicvae/mean/kernel`."""
    models = {"musicvae": musicvae.shapes(config.musicvae)}
    if config.surrogate is not None:
        models["surrogate"] = surrogate.shapes(config.surrogate)
    if config.guide is not None:
        models["guide"] = guide.shapes(config.guide)
    if config.critic is not None:
        models["critic"] = critic.shapes(config.critic)
    if config.correlation is not None:
        models["correlation"] = correlation.shapes(config.correlation)
    return flatten_dict(models, sep="/")


def _without_absent(config: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint without optional entries keeps the identity it had before there were any."""
    return {name: value for name, value in config.items() if value is not None or name not in OPTIONAL}


def _config(path: Path, entry: dict[str, Any]) -> ModelConfig:
    try:
        config = from_json(ModelConfig, entry["config"], "config")
    except ConfigError as error:
        raise CheckpointError(f"{path / RECORD}: {error}; fetch or export the checkpoint again") from error
    _compare(f"{path / RECORD}: ", shapes_of(config), {k: tuple(v["shape"]) for k, v in entry["arrays"].items()})
    return config


def _compare(where: str, expected: dict[str, tuple[int, ...]], got: dict[str, tuple[int, ...]]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in got]
    problems += [f"{name} is not in this architecture" for name in got if name not in expected]
    problems += [
        f"{name} should have shape {list(shape)}, has {list(got[name])}"
        for name, shape in expected.items()
        if name in got and tuple(got[name]) != shape
    ]
    if problems:
        raise CheckpointError(
            f"{where.rstrip(': ')}: the arrays do not fit the configuration: {'; '.join(problems)}; "
            "use the configuration these arrays were made with"
        )


def _crc32(array: np.ndarray) -> int:
    """Checksum of an array's values as float32, in row-major order."""
    return zlib.crc32(np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8))


def _leaves(
    path: Path, entry: dict[str, Any], expected: dict[str, tuple[int, ...]], sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """Reads all arrays, compares them with their checksums, and places them."""
    intact = _checksums(path / ARRAYS) == entry["files"]
    leaves, broken = {}, {}
    # Orbax forsakes reads under way when one of them fails, and they complain later; so damage is met one at a time.
    for group in _groups(expected, GROUP_BYTES if intact else 0):
        try:
            arrays = _restore(path / ARRAYS, {name: expected[name] for name in group})
        except Exception as error:  # a damaged folder makes orbax and tensorstore raise nearly anything
            broken |= dict.fromkeys(group, str(error).strip().split("\n")[0][:200] or type(error).__name__)
            continue
        for name in group:
            array = arrays.pop(name)
            if _crc32(array) != entry["arrays"][name]["crc32"]:
                broken[name] = "its values are not those saved"
            elif not broken:
                leaves[name] = jax.device_put(array, sharding)
                leaves[name].block_until_ready()  # only then may the host's copy go
            del array
    if broken:
        shown = [f"{name} ({reason})" for name, reason in list(broken.items())[:3]]
        more = f" and {len(broken) - 3} other arrays" if len(broken) > 3 else ""
        raise CheckpointError(f"{path}: cannot read {', '.join(shown)}{more}; fetch or export the checkpoint again")
    return leaves


def _checksums(folder: Path) -> dict[str, int]:
    """Checksum of each file in a folder, by its path in there."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        checksum = 0
        with file.open("rb") as content:
            while piece := content.read(2**20):
                checksum = zlib.crc32(piece, checksum)
        found[file.relative_to(folder).as_posix()] = checksum
    return found


def _groups(shapes: dict[str, tuple[int, ...]], limit: int) -> Iterator[list[str]]:
    """Arrays to read together, up to `limit` bytes: the largest first, while little else is in memory yet."""
    group, size = [], 0
    for name in sorted(shapes, key=lambda name: -math.prod(shapes[name])):
        bytes_ = 4 * math.prod(shapes[name])
        if group and size + bytes_ > limit:
            yield group
            group, size = [], 0
        group.append(name)
        size += bytes_
    if group:
        yield group


def _checkpointer():
    """An orbax checkpointer for host arrays that needs no other process."""
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"jaxaccomp_{jax.process_index()}",
    )
    # A second copy of a large model may not fit, and the write is over before `save` returns, so nothing can change.
    host = ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)
    registry = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, host), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, multiprocessing_options=alone, type_handler_registry=registry)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _write(folder: Path, leaves: dict[str, np.ndarray], dtype: str) -> None:
    import orbax.checkpoint as ocp

    tree = unflatten_dict(leaves, sep="/")
    pieces = jax.tree.map(lambda _: ocp.SaveArgs(dtype=DTYPES[dtype], chunk_byte_size=FILE_BYTES // 4), tree)
    with _checkpointer() as checkpointer:
        checkpointer.save(
            folder, args=ocp.args.PyTreeSave(tree, save_args=pieces, ocdbt_target_data_file_size=FILE_BYTES)
        )
    # Orbax's word for object stores without renaming; it tells no reader of ours anything but a path of this machine.
    (folder / "commit_success.txt").unlink(missing_ok=True)


def _restore(folder: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    target = unflatten_dict({name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}, sep="/")
    how = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype), target)
    with _checkpointer() as checkpointer:
        tree = checkpointer.restore(
            folder, args=ocp.args.PyTreeRestore(item=target, restore_args=how, partial_restore=True)
        )
    leaves = flatten_dict(tree, sep="/")
    for name, shape in shapes.items():
        if leaves[name].shape != shape:
            raise ValueError(f"{name} should have shape {list(shape)}, has {list(leaves[name].shape)}")
    return leaves
