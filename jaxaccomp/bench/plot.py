"""The bench as a picture: the roofline, and throughput against batch size."""

from pathlib import Path
from typing import Any

from jaxaccomp.errors import RenderError


def draw(results: dict[str, Any], path: Path) -> None:
    """Writes a picture of the results of `bench models`.

    Left: each row under the machine's roofline, operations per streamed byte against GFLOP/s. Right: windows a second
    against batch size.

    Raises:
        RenderError: the file cannot be written, or its ending names no picture format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    roofline, throughput = figure.subplots(1, 2)
    rows = results["rows"]
    peak, bandwidth = results["peak_gflops"] * results["devices"], results["copy_gb_per_s"] * results["devices"]
    intensities = [row["batch"] * row["gflop_per_window"] * 1e9 / row["streamed_bytes_per_batch"] for row in rows]
    left, right = min(intensities) / 2, max(*intensities, peak / bandwidth) * 2
    edges = [left, peak / bandwidth, right] if left < peak / bandwidth else [left, right]
    roofline.loglog(edges, [min(peak, bandwidth * edge) for edge in edges], color="black", lw=1)
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [(x, row) for x, row in zip(intensities, rows, strict=True) if row["name"] == name]
        label = name.replace("_", " ")
        speeds = [row["windows_per_s"] * row["gflop_per_window"] for _, row in own]
        roofline.loglog([x for x, _ in own], speeds, "o", label=label, ms=5)
        throughput.loglog([row["batch"] for _, row in own], [row["windows_per_s"] for _, row in own], "o-", label=label)
    roofline.set(xlabel="operations per byte of weights read", ylabel="GFLOP/s", title="under the roofline")
    throughput.set(xlabel="windows at a time", ylabel="windows/s", title="throughput")
    throughput.set_xscale("log", base=2)
    throughput.legend(fontsize=7)
    for axes in (roofline, throughput):
        axes.grid(alpha=0.3, which="both", lw=0.4)
    figure.suptitle(f"{results['preset']}, {results['dtype']}, {results['machine']['device']}, {results['date']}")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise RenderError(f"{path}: the picture cannot be written ({error})") from error
