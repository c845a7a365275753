"""Encoder, surrogate and decoder: windows a second, and how far that is from what the machine could do."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from jaxaccomp.arrays import PARTS, STEPS, VOCABULARY
from jaxaccomp.config import PRESETS, ModelConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.errors import UsageError

SONG_WINDOWS = 6
"""Windows in the song of "songs a second": three minutes at 120 quarter notes a minute, rounded up."""
BASS_AND_DRUMS = ("bass", "drums")
TEMPERATURE = 0.5
"""Of the timed sampling; its value changes no speed."""
_BYTES = {"float32": 4, "bfloat16": 2}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares what is measured."""
    parser.add_argument("--preset", choices=PRESETS, default="trio-small", help="sizes (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=_positive_list, default=(32,), metavar="N,…", help="windows at a time (default: 32)"
    )
    parser.add_argument(
        "--dtype", choices=_BYTES, default="float32", help="of the inputs of matrix products (default: %(default)s)"
    )
    parser.add_argument(
        "--surrogate-sizes", type=_positive_list, metavar="N,…", help="surrogate layers (default: the encoder's own)"
    )
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed calls of a row (default: 7)")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="S",
        help="repeat a row's calls for up to S seconds until other processes leave the CPUs alone (default: do not)",
    )
    parser.add_argument(
        "--naive", action=argparse.BooleanOptionalAction, help="also time the model in Flax's own layers"
    )
    parser.add_argument("--rows", metavar="NAME,…", help="only these, such as encode,decode (default: all)")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="devices to spread a batch over")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline and throughput against batch size")


@dataclass(frozen=True)
class _Computation:
    """Something to time.

    Attributes:
        name: its key in the results.
        flops: operations for each window.
        streamed_bytes: weights read for each batch.
        start: makes the inputs of a batch size, and gives what is to be timed.
        parts: the parts it decodes, if it decodes.
    """

    name: str
    flops: int
    streamed_bytes: int
    start: Callable[[int], Callable[[], Any]]
    parts: Sequence[str] | None = None


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times every row between two measurements of the machine's peak."""
    from jaxaccomp.bench import compilation

    with compilation.fresh_cache():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    import jax

    from jaxaccomp.bench import machine

    if arguments.repeats < 1:
        raise UsageError(f"--repeats must be at least 1, got {arguments.repeats}")
    if not 1 <= arguments.devices <= jax.local_device_count():
        raise UsageError(f"--devices {arguments.devices}: this process has {jax.local_device_count()}")
    uneven = [batch for batch in arguments.batch_size if batch % arguments.devices]
    if uneven:
        raise UsageError(f"--batch-size {uneven[0]} cannot be shared evenly by {arguments.devices} devices")
    naive = not arguments.quick if arguments.naive is None else arguments.naive
    repeats = min(arguments.repeats, 3) if arguments.quick else arguments.repeats

    description = machine.describe()
    patience_s = 0.0 if arguments.quick else arguments.patience
    before = machine.matmul_gflops(arguments.dtype, repeats=repeats, patience_s=patience_s)
    bandwidth = machine.copy_gb_per_s(repeats=repeats, patience_s=patience_s)
    computations = _chosen(_computations(PRESETS[arguments.preset], arguments, naive), arguments.rows)
    rows = [
        _time(computation, batch, arguments, repeats, patience_s)
        for batch in arguments.batch_size
        for computation in computations
    ]
    after = machine.matmul_gflops(arguments.dtype, repeats=repeats, patience_s=patience_s)
    peak = (before + after) / 2
    for row in rows:
        _judge(row, peak * arguments.devices, bandwidth * arguments.devices, description["cache_bytes"])
    results = {
        "preset": arguments.preset,
        "dtype": arguments.dtype,
        "date": date.today().isoformat(),
        "machine": description,
        "peak_gflops": peak,
        "peak_gflops_before_and_after": [before, after],
        "copy_gb_per_s": bandwidth,
        "devices": arguments.devices,
        "song_windows": SONG_WINDOWS,
        "rows": rows,
    }
    for name in dict.fromkeys(row["name"] for row in rows):
        results[name] = max((row for row in rows if row["name"] == name), key=lambda row: row["windows_per_s"])
    if arguments.plot:
        from jaxaccomp.bench import plot

        plot.draw(results, arguments.plot)
    return results


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table under two lines about the machine."""
    about = results["machine"]
    before, after = results["peak_gflops_before_and_after"]
    lines = [
        f"{results['preset']}, {results['dtype']}, {results['date']}: {about['processor']} ({about['cores']} cores), "
        f"{results['devices']} × {about['device']}, Python {about['python']}, jax {about['jax']}",
        f"matmul peak {before:,.0f} GFLOP/s before, {after:,.0f} after; copy {results['copy_gb_per_s']:.1f} GB/s; "
        f"load {about['load_1min']} at the start",
        "",
        "| what | batch | windows/s | songs/s | of peak | bound | spread | others | compile | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['name'].replace('_', ' ')} | {row['batch']} | {row['windows_per_s']:,.2f} "
            f"| {row['songs_per_s']:,.2f} | {row['fraction_of_peak']:.0%} "
            f"| {row['roofline_windows_per_s']:,.1f} ({row['bound']}) | {row['spread']:.0%} | {row['others']:.0%} "
            f"| {row['compile_s']:.1f} s | {row['peak_memory_bytes'] / 2**30:.2f} GiB |"
        )
    return "\n".join(lines)


def _chosen(computations: list[_Computation], names: str | None) -> list[_Computation]:
    if names is None:
        return computations
    unknown = set(names.split(",")) - {computation.name for computation in computations}
    if unknown:
        known = ", ".join(computation.name for computation in computations)
        raise UsageError(f"--rows {names}: no row {min(unknown)!r}; there are {known}")
    return [computation for computation in computations if computation.name in names.split(",")]


def _time(
    computation: _Computation, batch: int, arguments: argparse.Namespace, repeats: int, patience_s: float
) -> dict[str, Any]:
    from jaxaccomp.bench import machine
    from jaxaccomp.bench.timing import measure

    warm_up = 0 if arguments.quick else 1
    timing = measure(computation.start(batch), repeats=repeats, warm_up=warm_up, patience_s=patience_s)
    measured = {
        "name": computation.name,
        "batch": batch,
        "dtype": "float32" if computation.name.startswith("naive") else arguments.dtype,
        "windows_per_s": batch / timing.median_s,
        "songs_per_s": batch / timing.median_s / SONG_WINDOWS,
        "median_s": timing.median_s,
        "spread": timing.spread,
        "others": timing.others,
        "repeats": len(timing.seconds),
        "compile_s": timing.compile_s,
        "peak_memory_bytes": machine.peak_memory_bytes(),
        "gflop_per_window": computation.flops / 1e9,
        "streamed_bytes_per_batch": computation.streamed_bytes,
    }
    return measured if computation.parts is None else {**measured, "parts": list(computation.parts)}


def _judge(row: dict[str, Any], peak_gflops: float, gb_per_s: float, cache_bytes: int) -> None:
    """Adds the fraction of peak, and the most the machine could do: the lower of computing and streaming weights.

    Weights that one step needs and that fit in the cache are not streamed.
    """
    computing_s = row["batch"] * row["gflop_per_window"] / peak_gflops
    streamed = row["streamed_bytes_per_batch"]
    streaming_s = streamed / gb_per_s / 1e9 if streamed / STEPS > cache_bytes else 0.0
    row["fraction_of_peak"] = computing_s / row["median_s"]
    row["roofline_windows_per_s"] = row["batch"] / max(computing_s, streaming_s)
    row["bound"] = "compute" if computing_s >= streaming_s else "memory"


def random_params(shapes: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Parameters that keep the variance of their input, drawn fast: at full size an initialisation takes minutes."""
    import jax.numpy as jnp
    import numpy as np

    generator = np.random.default_rng(seed)

    def draw(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: draw(child) for name, child in node.items()}
        drawn = generator.standard_normal(node, np.float32)
        return jnp.asarray(drawn / np.float32(node[0]) ** 0.5 if len(node) == 2 else 0.1 * drawn)

    return draw(shapes)


def _computations(config: MusicVAEConfig, arguments: argparse.Namespace, naive: bool) -> list[_Computation]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxaccomp.bench import naive as yardstick
    from jaxaccomp.bench import operations
    from jaxaccomp.generate.accompanist import Accompanist
    from jaxaccomp.generate.decoding import blocks
    from jaxaccomp.generate.sampler import Sampler
    from jaxaccomp.models import lstm_scan, musicvae, surrogate

    hearing = surrogate.matching(config)
    if arguments.surrogate_sizes:
        hearing = SurrogateConfig(sizes=arguments.surrogate_sizes, latent_size=config.latent_size)
    params = {
        "musicvae": random_params(musicvae.shapes(config)),
        "surrogate": random_params(surrogate.shapes(hearing)),
    }
    devices = jax.local_devices()[: arguments.devices]
    dtype = None if arguments.dtype == "float32" else jnp.dtype(arguments.dtype)
    band = Accompanist(ModelConfig(musicvae=config, surrogate=hearing), params, dtype=dtype, devices=devices)
    sampler = Sampler(config, params["musicvae"], dtype=dtype, devices=devices)
    width = _BYTES[arguments.dtype]
    key = jax.random.key(0)

    def windows(batch: int) -> np.ndarray:
        generator = np.random.default_rng(batch)
        return np.stack([generator.integers(0, VOCABULARY[part], (batch, STEPS), np.int32) for part in PARTS], -1)

    def melodies(batch: int) -> np.ndarray:
        return windows(batch)[:, :, 0]

    def latents(batch: int) -> jax.Array:
        return jax.random.normal(key, (batch, config.latent_size))

    def decoding(parts: Sequence[str], batch: int) -> Callable[[], Any]:
        z_BZ, keys_B = latents(batch), jax.random.split(key, batch)
        return lambda: sampler(z_BZ, keys_B, TEMPERATURE, parts)

    def accompanying(batch: int) -> Callable[[], Any]:
        melody_BL, numbers_B = windows(batch)[:, :, 0], np.arange(batch, dtype=np.int32)
        fingerprints_B2 = np.stack([numbers_B, numbers_B], -1).astype(np.uint32)
        return lambda: np.asarray(band.play(melody_BL, fingerprints_B2, numbers_B).tokens_BLP)

    def calling(
        function: Callable, part: str, inputs: Callable[[int], Any], jit: Callable = jax.jit
    ) -> Callable[[int], Callable[[], Any]]:
        compiled = jit(function)
        mesh = jax.sharding.Mesh(np.array(devices), ("rows",))
        whole, rows = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), ("rows",)))
        placed: dict[str, Any] = {}

        def start(batch: int) -> Callable[[], Any]:
            if not placed:
                placed.update(jax.device_put(params[part], whole))
            ready = jax.device_put(inputs(batch), rows)
            return lambda: compiled(placed, ready)

        return start

    counts = {
        "encode": (operations.encode_flops(config), operations.encode_bytes(config, width)),
        "surrogate": (operations.surrogate_flops(hearing), operations.surrogate_bytes(hearing, width)),
    }
    for name, parts in (("decode", BASS_AND_DRUMS), ("decode_all", PARTS)):
        counts[name] = (operations.decode_flops(config, parts), operations.decode_bytes(config, parts, width))
    both = tuple(a + b for a, b in zip(counts["surrogate"], counts["decode"], strict=True))
    encode, guess = partial(musicvae.encode, dtype=dtype), partial(surrogate.encode, dtype=dtype)
    jit_guess = jax.jit if lstm_scan.in_columns(max(hearing.sizes), dtype) else blocks.jit  # as the accompanist does
    rows = [
        _Computation("encode", *counts["encode"], calling(encode, "musicvae", windows)),
        _Computation("surrogate", *counts["surrogate"], calling(guess, "surrogate", melodies, jit_guess)),
        _Computation("decode", *counts["decode"], partial(decoding, BASS_AND_DRUMS), BASS_AND_DRUMS),
        _Computation("decode_all", *counts["decode_all"], partial(decoding, PARTS), PARTS),
        _Computation("end_to_end", *both, accompanying, BASS_AND_DRUMS),
    ]
    if naive:

        def slow_encode(params: Any, tokens_BLP: jax.Array) -> Any:
            return yardstick.encode(config, params, tokens_BLP)

        def slow_decode(params: Any, z_BZ: jax.Array) -> Any:
            return yardstick.decode(config, params, z_BZ, key, TEMPERATURE, BASS_AND_DRUMS)

        rows += [
            _Computation("naive_encode", *counts["encode"], calling(slow_encode, "musicvae", windows)),
            _Computation("naive_decode", *counts["decode"], calling(slow_decode, "musicvae", latents), BASS_AND_DRUMS),
        ]
    return rows


def _positive_list(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if not numbers or min(numbers) < 1 or len(numbers) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1 up, separated by commas, got {text!r}")
    return numbers
