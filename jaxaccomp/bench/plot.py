"""The bench as a picture: the roofline, and throughput against batch size."""

from pathlib import Path
from typing import Any

from jaxaccomp.errors import RenderError

_SOURCES = {"memory": "memory", "cache": "the cores' own caches"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Writes a picture of the results of `bench models`.

    Left: operations per byte of weights against GFLOP/s, under two rooflines: one for weights that every step reads
    from memory, one for weights that stay in the caches. Right: windows a second against batch size.

    Raises:
        RenderError: the file cannot be written, or its ending names no picture format.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    roofline, throughput = figure.subplots(1, 2)
    rows = results["rows"]
    devices = results["devices"]
    peak = results["multiply_add_gflops"] * devices
    roofs = {"memory": results["memory_gb_per_s"] * devices, "cache": results["cache_gb_per_s"] * devices}
    intensities = [row["batch"] * row["gflop_per_window"] * 1e9 / row["streamed_bytes_per_batch"] for row in rows]
    for (source, bandwidth), style in zip(roofs.items(), ("-", "--"), strict=True):
        left, right = min(intensities) / 2, max(*intensities, peak / min(roofs.values())) * 2
        edges = [left, peak / bandwidth, right] if left < peak / bandwidth else [left, right]
        label = f"roof: weights from {_SOURCES[source]}, {bandwidth:.0f} GB/s"
        roofline.loglog(edges, [min(peak, bandwidth * edge) for edge in edges], style, color="black", lw=1, label=label)
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [(x, row) for x, row in zip(intensities, rows, strict=True) if row["name"] == name]
        label = name.replace("_", " ")
        (line,) = throughput.loglog(
            [row["batch"] for _, row in own], [row["windows_per_s"] for _, row in own], "o-", label=label
        )
        for source in roofs:
            points = [
                (x, row["windows_per_s"] * row["gflop_per_window"]) for x, row in own if row["weights_from"] == source
            ]
            fill = line.get_color() if source == "memory" else "none"
            roofline.loglog(*zip(*points, strict=True), "o", color=line.get_color(), mfc=fill, ms=5) if points else None
    throughput.set(xlabel="windows at a time", ylabel="windows/s", title="throughput")
    roofline.set(
        xlabel="operations per byte of weights", ylabel="GFLOP/s", title=f"roofline; at most {peak:.0f} GFLOP/s"
    )
    batches = sorted({row["batch"] for row in rows})
    throughput.set_xscale("log", base=2)
    throughput.set_xticks(batches, [str(batch) for batch in batches])
    throughput.minorticks_off()
    for axis in (throughput.yaxis, roofline.xaxis, roofline.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    roofline.legend(fontsize=7)
    throughput.legend(fontsize=7)
    for axes in (roofline, throughput):
        axes.grid(alpha=0.3, which="both", lw=0.4)
    figure.suptitle(f"{results['preset']}, {results['dtype']}, {results['machine']['processor']}, {results['date']}")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise RenderError(f"{path}: the picture cannot be written ({error})") from error
