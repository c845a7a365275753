"""Pictures of the latent space: histograms against the normal density, and what asking for more of something does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp.errors import RenderError
from jaxaccomp.generate.directions import Direction
from jaxaccomp.latent.gaussian import EDGES, Projection

_COLUMNS = 4


def draw_histograms(projections: Mapping[str, Projection], path: Path) -> None:
    """One histogram for each direction, under the density of N(0, 1)."""
    figure, panels = _panels(len(projections), (2.6, 1.9))
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    density = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    for panel, (name, projection) in zip(panels, projections.items(), strict=True):
        counts = np.array(projection.counts)
        panel.bar(middles, counts / max(counts.sum(), 1) / np.diff(EDGES), np.diff(EDGES), color="#7aa6c2")
        panel.plot(middles, density, color="#222222", linewidth=1)
        panel.set_title(f"{name.replace('_', ' ')}\nKS {projection.distance:.3f}", fontsize=8)
        panel.set_yticks([])
        panel.set_ylim(0, 0.6)
        panel.tick_params(labelsize=7)
    _save(figure, path)


def draw_responses(directions: Mapping[str, Direction], path: Path) -> None:
    """What is played when an attribute is asked for, one panel each; the dashed line is what was asked."""
    figure, panels = _panels(len(directions), (2.6, 2.1))
    for panel, (name, direction) in zip(panels, directions.items(), strict=True):
        asked = np.array(list(map(float, direction.response)))
        measured = np.array(list(direction.response.values()))
        plain = direction.response["0"]
        panel.plot(asked, plain + asked * direction.deviation, color="#999999", linestyle="--", linewidth=1)
        panel.plot(asked, measured, color="#c2573a", marker="o", markersize=3, linewidth=1.2)
        panel.set_title(name.replace("_", " "), fontsize=8)
        panel.tick_params(labelsize=7)
        low, high = min(measured.min(), plain - direction.deviation), max(measured.max(), plain + direction.deviation)
        panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    figure.supxlabel("standard deviations asked for", fontsize=8)
    _save(figure, path)


def _panels(count: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure((size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def _save(figure: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90, metadata={"Software": None})
    except OSError as error:
        raise RenderError(f"{path}: cannot write the picture there ({error.strerror})") from error
