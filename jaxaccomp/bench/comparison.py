"""A run of the bench beside an earlier one: every rate, and how many times the earlier one it is."""

import json
from pathlib import Path
from typing import Any

from jaxaccomp.errors import UsageError


def read(path: Path) -> dict[str, Any]:
    """Results of an earlier run, as `--json FILE` wrote them.

    Raises:
        UsageError: they are not there, or no JSON object.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--compare {path}: results of an earlier run cannot be read ({error})") from error
    if not isinstance(results, dict):
        raise UsageError(f"--compare {path}: expected a JSON object, as `bench --json FILE` writes it")
    return results


def rates(results: Any, place: str = "") -> dict[str, float]:
    """Every number whose key ends in `_per_s` or `_gflops`, by its place; rows are named, not numbered."""
    found: dict[str, float] = {}
    if isinstance(results, dict):
        for key, value in results.items():
            name = f"{place} {key}".strip()
            if isinstance(value, int | float) and key.endswith(("_per_s", "_gflops")) and "roofline" not in key:
                found[name] = float(value)
            elif isinstance(value, list):
                for row in value:
                    found |= rates(row, f"{place} {_row_name(row)}".strip())
            elif isinstance(value, dict) and not ("batch" in value and "name" in value):  # a row that stands twice
                found |= rates(value, name)
    return found


def ratios(new: dict[str, Any], old: dict[str, Any]) -> dict[str, float]:
    """New over old, for every rate that both have."""
    before = rates(old)
    return {name: rate / before[name] for name, rate in rates(new).items() if before.get(name)}


def table(new: dict[str, Any], old: dict[str, Any]) -> str:
    """The ratios, under a warning where the machines differ."""
    now, before = rates(new), rates(old)
    lines = ["", "| rate | before | now | ratio |", "|---|---|---|---|"]
    for name, ratio in ratios(new, old).items():
        lines.append(f"| {name} | {before[name]:,.2f} | {now[name]:,.2f} | {ratio:.2f} |")
    processors = [results.get("machine", {}).get("processor", "unknown") for results in (old, new)]
    if processors[0] != processors[1]:
        lines.append(
            f"\nDifferent machines: {processors[0]} before, {processors[1]} now. The ratios are not the program's."
        )
    return "\n".join(lines)


def _row_name(row: Any) -> str:
    if not isinstance(row, dict):
        return ""
    return " ".join(str(row[key]) for key in ("name", "step", "part", "devices", "batch") if key in row)
