"""The dataset `trio_windows` → the dataset `trio_latents`: what MusicVAE's encoder makes of each window.

Shards are dealt out to JAX's processes and encoded one after the other in batches of one shape, so that a shard's
bytes depend on the windows and the checkpoint alone. A shard that is there is never made again.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.data import codec, shards, staging, windows
from jaxaccomp.data.publishing import Publication
from jaxaccomp.errors import CheckpointError, DatasetError
from jaxaccomp.models import musicvae
from jaxaccomp.weights import checkpoint

NAME = "trio_latents"
DESCRIPTION = (
    "Posterior of MusicVAE's latent for 16-bar windows of songs: `mean` and `scale` of z given all three parts, the "
    "parts' tokens, of which the first `length` count, and where the window comes from."
)
EXAMPLES_PER_SHARD = 4096
"""What a killed run has to encode again at most."""
BATCH_SIZE = 256
"""Windows that a device encodes at a time."""
_PROVENANCE = ("song", "segment", "bar")


def columns(latent_size: int) -> codec.Columns:
    """Shape and type of each feature."""
    return {
        **{part: ((STEPS,), np.int16) for part in PARTS},
        "length": ((), np.int32),
        "mean": ((latent_size,), np.float32),
        "scale": ((latent_size,), np.float32),
        **{name: windows.COLUMNS[name] for name in _PROVENANCE},
    }


def build(
    source: str | os.PathLike,
    checkpoint_path: str | os.PathLike,
    out: str | os.PathLike,
    *,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    shard_count: int | None = None,
    progress: Callable[..., Any] = tqdm,
) -> dict[str, Any]:
    """Encodes a dataset of windows on all devices of all JAX processes, or goes on where a run was interrupted.

    Args:
        source: folder of the dataset of windows.
        checkpoint_path: folder or name of a checkpoint.
        out: the dataset goes to `out/trio_latents/1.0.0`, here or on a bucket; all processes must see it.
        batch_size: windows that each device encodes at a time.
        limit: at most so many windows of each song, spread over the song.
        shard_count: shards of each split; default one for each 4,096 windows.
        progress: shows how far it is, called as `tqdm` is.

    Returns:
        `windows` by split, `latent_size`, `folder`.

    Raises:
        DatasetError: the windows cannot be read, or the folder holds other latents.
        CheckpointError: the checkpoint cannot be read.
    """
    metadata = windows.require_trios(source)
    print_ = checkpoint.fingerprint(checkpoint_path)
    latent_size = checkpoint.shapes(checkpoint_path)[0].musicvae.latent_size
    options = {"windows": metadata["identity"], "checkpoint": print_, "limit": limit, "shards": shard_count}
    identity = hashlib.sha256(json.dumps(options).encode()).hexdigest()
    publication = Publication(out, NAME)
    folder, first = publication.folder, jax.process_index() == 0
    building = folder.parent / f".building-{identity[:16]}"
    publication.take_up(building, identity, first)
    splits = {split: shards.open_split(source, split, memory_bytes=0) for split in metadata["shard_lengths"]}
    rows = {split: _rows(data, limit) for split, data in splits.items()}
    if not folder.exists():
        building.mkdir(parents=True, exist_ok=True)
        if first:
            shards.clear(building)
        _meet("latents: start")
        shard_lengths = {
            split: shards.lengths(len(chosen), shard_count, EXAMPLES_PER_SHARD) for split, chosen in rows.items()
        }
        encoder = partial(Encoder, checkpoint_path, batch_size)
        _write_shards(publication, building, splits, rows, shard_lengths, encoder, columns(latent_size), progress)
        _meet("latents: encoded")
        if first:
            publication.take_up(building, identity)  # what the others have sent
            _write_songs(building, splits, limit)
            place = str(checkpoint.resolve(checkpoint_path))
            record = options | {"identity": identity, "latent_size": latent_size, "checkpoint_path": place}
            record["musicvae"] = checkpoint.fingerprint(checkpoint_path, part="musicvae")
            shards.write_metadata(building, NAME, columns(latent_size), shard_lengths, DESCRIPTION, record)
            building.rename(folder)
        _meet("latents: written")
    if first:
        publication.finish()
    _meet("latents: finished")
    if not folder.exists():  # another machine's
        publication.take_up(building, identity)
    stored = shards.read_metadata(folder)
    if stored.get("identity") != identity:
        raise DatasetError(
            f"{folder}: holds latents of other windows, of another checkpoint or made with other options; remove it "
            "or choose another --out"
        )
    counts = {split: sum(stored["shard_lengths"].get(split, [])) for split in shards.SPLITS}
    return {"folder": publication.address, "windows": counts, "latent_size": latent_size}


def checkpoint_of(source: str | os.PathLike) -> Path:
    """The checkpoint that made these latents: where it was then, or one of the same content that has a name.

    Raises:
        DatasetError: no latents there, or their checkpoint is gone.
    """
    metadata = shards.require_kind(source, NAME)
    place = metadata.get("checkpoint_path", "")
    for candidate in filter(None, (place, *checkpoint.names())):
        with contextlib.suppress(CheckpointError):
            if checkpoint.fingerprint(candidate) == metadata["checkpoint"]:
                return checkpoint.resolve(candidate)
    raise DatasetError(
        f"{source}: the checkpoint that made these latents is no longer at {place or 'its place'}; say with "
        "--checkpoint where it is"
    )


def require_made_by(source: str | os.PathLike, checkpoint_path: str | os.PathLike) -> None:
    """Refuses latents that another MusicVAE made than the given checkpoint's.

    Raises:
        DatasetError: they are another's, even if of the same size.
    """
    metadata = shards.require_kind(source, NAME)
    part = "musicvae" if "musicvae" in metadata else None  # datasets of version 0.1.0 know the whole checkpoint alone
    made_by = metadata["musicvae" if part else "checkpoint"]
    given = checkpoint.fingerprint(checkpoint_path, part=part)
    if made_by != given:
        raise DatasetError(
            f"{source}: these latents were made by another MusicVAE ({made_by[:12]}, then at "
            f"{metadata.get('checkpoint_path', 'an unknown place')}) than that of {checkpoint_path} ({given[:12]}); "
            "make latents with this one, give the other one as --checkpoint, or --allow-foreign-latents"
        )


class Encoder:
    """MusicVAE's encoder on all devices of this process, for batches of one shape.

    Attributes:
        rows: windows of a batch: the batch size of a device × devices.
    """

    def __init__(self, checkpoint_path: str | os.PathLike, batch_size: int):
        mesh = Mesh(np.array(jax.local_devices()), ("data",))
        everywhere = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec("data"))
        self.rows = batch_size * len(mesh.devices)
        _, params = checkpoint.load(checkpoint_path, sharding=everywhere)
        self._params = params["musicvae"]
        self._encode = jax.jit(musicvae.encode, out_shardings=self._split)

    def start(self, tokens_NLP: np.ndarray) -> tuple[int, musicvae.Posterior]:
        """Begins to encode at most `rows` windows; returns how many, and arrays whose values may still be coming."""
        padding = np.zeros((self.rows - len(tokens_NLP), *tokens_NLP.shape[1:]), np.int32)
        tokens_BLP = np.concatenate([tokens_NLP.astype(np.int32), padding])
        return len(tokens_NLP), self._encode(self._params, jax.device_put(tokens_BLP, self._split))


def _rows(data: shards.Split, limit: int | None) -> np.ndarray:
    """Rows of a split that are taken."""
    start, chosen = 0, [np.zeros(0, np.int64)]
    for count in data.windows_by_song.tolist():
        chosen.append(start + staging.spread(count, limit))
        start += count
    return np.concatenate(chosen)


def _write_shards(
    publication: Publication,
    folder: Path,
    splits: dict[str, shards.Split],
    rows: dict[str, np.ndarray],
    shard_lengths: dict[str, list[int]],
    make_encoder: Callable[[], Encoder],
    schema: codec.Columns,
    progress: Callable[..., Any],
) -> None:
    everything = list(shards.written(folder, NAME, shard_lengths))
    mine = everything[jax.process_index() :: jax.process_count()]
    todo = [(split, shard, file) for split, shard, file, there in mine if not there]
    if not todo:
        return
    encoder = make_encoder()
    total = sum(shard_lengths[split][shard] for split, shard, _ in todo)
    with progress(total=total, desc="encoding", unit="window", disable=None) as bar:
        for split, shard, file in todo:
            wanted = shards.rows_of(shard_lengths[split], shard)
            chosen = rows[split][wanted.start : wanted.stop]
            shards.write_shard(file, schema, _examples(encoder, splits[split], chosen))
            publication.send_shard(file)
            bar.update(len(chosen))


def _examples(encoder: Encoder, data: shards.Split, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    """Examples of some rows; while the host writes one batch, the devices encode the next."""
    waiting: tuple[dict[str, np.ndarray], Any] | None = None
    for first in range(0, len(rows), encoder.rows):
        batch = data.take(rows[first : first + encoder.rows], ("tokens", *_PROVENANCE))
        started = batch, encoder.start(batch["tokens"])
        if waiting is not None:
            yield from _finished(*waiting)
        waiting = started
    if waiting is not None:
        yield from _finished(*waiting)


def _finished(batch: dict[str, np.ndarray], started: tuple[int, musicvae.Posterior]) -> Iterator[dict[str, Any]]:
    count, posterior = started
    mean_BZ, scale_BZ = (np.asarray(array) for array in posterior)
    for row in range(count):
        yield {
            **{part: batch["tokens"][row, :, place] for place, part in enumerate(PARTS)},
            "length": STEPS,
            "mean": mean_BZ[row],
            "scale": scale_BZ[row],
            **{name: batch[name][row] for name in _PROVENANCE},
        }


def _write_songs(folder: Path, splits: dict[str, shards.Split], limit: int | None) -> None:
    lines = []
    for data in splits.values():
        for song in data.songs:
            lines.append(json.dumps(song | {"windows": min(song["windows"], limit or song["windows"])}))
    (folder / shards.SONGS).write_text("".join(line + "\n" for line in lines))


def _meet(where: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)
