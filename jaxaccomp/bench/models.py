"""Encoder, surrogate and decoder: windows a second, and how far that is from what the machine could do."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from jaxaccomp.arrays import STEPS
from jaxaccomp.bench.settings import ModelsConfig
from jaxaccomp.errors import JaxAccompError, UsageError

if TYPE_CHECKING:
    from jaxaccomp.bench.computations import Computation

SONG_WINDOWS = 6
"""Windows in the song of "songs a second": three minutes at 120 quarter notes a minute, rounded up."""
_QUICK_REPEATS = 3

LEGEND = """
* of peak: operations done over what the measured matmul peak would do in that time; that is XLA's, so that machine code
  of our own may exceed it on a CPU.
* bound: the most this machine could do, limited by multiply-adds, or by reading weights from memory or from the cache.
* spread: (slowest - fastest) / median.
* others: share of the CPUs that other processes took meanwhile.
* cold, warm: what the first call took longer, with an empty and with a filled compilation cache.
* naive: the same model in flax.linen's own recurrent layers; end to end it has no guide, which ours has."""


def measure(config: ModelsConfig | None = None) -> dict[str, Any]:
    """Times every row between two measurements of the machine's peak.

    Args:
        config: what to time; None: the defaults.

    Returns:
        `rows`, one for each computation and batch size; the fastest row of each computation under its own name;
        `peak_gflops`, bandwidths, and what the machine is. The keys are told in docs/benchmarks.md.

    Raises:
        UsageError: more devices than there are, or a row that there is not.
        JaxAccompError: no row could be timed.
    """
    import jax

    from jaxaccomp.bench import arithmetic, bandwidth, compilation, machine
    from jaxaccomp.bench.computations import Workbench

    config = config or ModelsConfig()
    if config.devices > jax.local_device_count():
        raise UsageError(f"--devices {config.devices}: this process has {jax.local_device_count()}")
    repeats = min(config.repeats, _QUICK_REPEATS) if config.quick else config.repeats
    patience_s = 0.0 if config.quick else config.patience
    calls = {"repeats": repeats, "patience_s": patience_s}

    with compilation.fresh_cache():
        description = machine.describe()
        workbench = Workbench(config)
        computations = _chosen(workbench.computations(config.with_naive), config.rows)

        def limits() -> tuple[float, float, float, float]:
            peak = machine.matmul_gflops(config.dtype, **calls)
            is_cpu = jax.default_backend() == "cpu" and config.dtype == "float32"
            most = max(peak, arithmetic.multiply_add_gflops(**calls)) if is_cpu else peak
            return peak, most, bandwidth.memory_gb_per_s(**calls), bandwidth.cache_gb_per_s(**calls)

        first = limits()
        rows, left_out = [], _missing(config.rows, computations)
        for batch in config.batch_size:
            for computation in computations:
                try:
                    rows.append(_time(computation, batch, config, **calls))
                except (jax.errors.JaxRuntimeError, JaxAccompError) as error:  # such as too little memory
                    jax.clear_caches()
                    why = f"{computation.name} at batch {batch}: {str(error).strip().splitlines()[0]}"
                    print(f"left out: {why}", file=sys.stderr, flush=True)
                    left_out.append(why)
        if not rows:
            raise JaxAccompError(f"nothing could be timed: {'; '.join(left_out)}")
        last = limits()
    peak, most, of_memory, of_cache = map(max, first, last)  # what the machine was able to do at some time
    for row in rows:
        is_cached = row["weight_bytes_per_step"] <= description["cache_bytes"]
        roof = of_cache if is_cached else of_memory
        limit = (peak * config.devices, most * config.devices, roof * config.devices)
        _judge(row, *limit, "cache" if is_cached else "memory")
    _compare(rows)
    results = {
        "preset": config.preset,
        "weights": workbench.weights,
        "dtype": config.dtype,
        "date": date.today().isoformat(),
        "machine": description,
        "peak_gflops": peak,
        "peak_gflops_before_and_after": [first[0], last[0]],
        "multiply_add_gflops": most,
        "memory_gb_per_s": of_memory,
        "cache_gb_per_s": of_cache,
        "devices": config.devices,
        "song_windows": SONG_WINDOWS,
        "rows": rows,
        "left_out": left_out,
    }
    for name in dict.fromkeys(row["name"] for row in rows):
        results[name] = max((row for row in rows if row["name"] == name), key=lambda row: row["windows_per_s"])
    return results


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table, under two lines about the machine and over a legend."""
    about = results["machine"]
    before, after = results["peak_gflops_before_and_after"]
    lines = [
        f"{results['preset']} ({results['weights']} weights), {results['dtype']}, {results['date']}: "
        f"{about['processor']} ({about['cores']} cores), {results['devices']} × {about['device']}, "
        f"Python {about['python']}, jax {about['jax']}",
        f"matmul peak {before:,.0f} GFLOP/s before, {after:,.0f} after; multiply-adds alone "
        f"{results['multiply_add_gflops']:,.0f}; read {results['memory_gb_per_s']:.0f} GB/s "
        f"from memory, {results['cache_gb_per_s']:.0f} from the cores' caches; "
        f"load {about['load_1min']} at the start",
        "",
        "| what | batch | windows/s | × naive | songs/s | of peak | bound | spread | others | cold | warm | memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        ratio = f"{row['ratio_to_naive']:.2f}" if "ratio_to_naive" in row else ""
        lines.append(
            f"| {row['name'].replace('_', ' ')} | {row['batch']} | {row['windows_per_s']:,.2f} "
            f"| {ratio} | {row['songs_per_s']:,.2f} | {row['fraction_of_peak']:.0%} "
            f"| {row['roofline_windows_per_s']:,.1f} ({row['bound']}) | {row['spread']:.0%} | {row['others']:.0%} "
            f"| {row['compile_s']:.1f} s | {row['compile_warm_s']:.1f} s | {row['peak_memory_bytes'] / 2**30:.2f} GiB |"
        )
    lines += [f"\nLeft out: {why}" for why in results["left_out"]]
    return "\n".join(lines) + "\n" + LEGEND


def _chosen(computations: "list[Computation]", names: Sequence[str] | None) -> "list[Computation]":
    from jaxaccomp.bench.computations import CUDNN_ENCODE

    if names is None:
        return computations
    unknown = set(names) - {computation.name for computation in computations} - {CUDNN_ENCODE}
    if unknown:
        known = ", ".join(computation.name for computation in computations)
        raise UsageError(f"--rows {','.join(names)}: no row {min(unknown)!r}; there are {known}")
    return [computation for computation in computations if computation.name in names]


def _missing(names: Sequence[str] | None, computations: "list[Computation]") -> list[str]:
    """Rows that were asked for by name and that this machine does not have, as sentences."""
    from jaxaccomp.bench.computations import CUDNN_ENCODE

    if CUDNN_ENCODE not in (names or ()) or any(computation.name == CUDNN_ENCODE for computation in computations):
        return []
    return [f"{CUDNN_ENCODE}: it needs float32 and an NVIDIA GPU, with JAX for CUDA"]


def _time(
    computation: "Computation", batch: int, config: ModelsConfig, repeats: int, patience_s: float
) -> dict[str, Any]:
    from jaxaccomp.bench import machine, timing

    compute = computation.start(batch)
    taken = timing.measure(compute, repeats=repeats, warm_up=0 if config.quick else 1, patience_s=patience_s)
    measured = {
        "name": computation.name,
        "batch": batch,
        "dtype": "float32" if computation.name.startswith("naive") else config.dtype,
        "windows_per_s": batch / taken.median_s,
        "songs_per_s": batch / taken.median_s / SONG_WINDOWS,
        "median_s": taken.median_s,
        "spread": taken.spread,
        "others": taken.others,
        "repeats": len(taken.seconds),
        "compile_s": taken.compile_s,
        "compile_warm_s": max(0.0, timing.refetch_s(compute) - taken.median_s),
        "peak_memory_bytes": machine.peak_memory_bytes(),
        "gflop_per_window": computation.flops / 1e9,
        "weight_bytes_per_step": computation.streamed_bytes / STEPS,
        "streamed_bytes_per_batch": computation.streamed_bytes * computation.share_read(batch),
    }
    return measured if computation.parts is None else {**measured, "parts": list(computation.parts)}


def _compare(rows: list[dict[str, Any]]) -> None:
    """Adds how much faster a row is than the naive program at the same batch size."""
    naive = {(row["name"].removeprefix("naive_"), row["batch"]): row for row in rows if row["name"].startswith("naive")}
    for row in rows:
        other = naive.get((row["name"], row["batch"]))
        if other is not None:
            row["ratio_to_naive"] = row["windows_per_s"] / other["windows_per_s"]


def _judge(row: dict[str, Any], peak_gflops: float, most_gflops: float, gb_per_s: float, source: str) -> None:
    """Adds the fraction of peak, and the most the machine could do: the lower of computing and reading weights."""
    operations = row["batch"] * row["gflop_per_window"]
    computing_s, reading_s = operations / most_gflops, row["streamed_bytes_per_batch"] / gb_per_s / 1e9
    row["weights_from"] = source
    row["fraction_of_peak"] = operations / peak_gflops / row["median_s"]
    row["roofline_windows_per_s"] = row["batch"] / max(computing_s, reading_s)
    row["bound"] = "compute" if computing_s >= reading_s else source
