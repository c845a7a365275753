"""`accompanied.report` as a Markdown table: a row for each measure, the real songs beside each way of playing."""

from collections.abc import Mapping
from typing import Any

from jaxaccomp.evaluation import markdown
from jaxaccomp.music import measures

TITLES = {
    "real": "real",
    "real_shuffled": "another song's real band",
    "default": "as it plays",
    "guided": "guided, one draw",
    "fast": "`--fast`",
}


def table(report: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> str:
    """The table, and a sentence on how it was made.

    Args:
        report: what `accompanied.report` gave.
        baseline: likewise of another checkpoint; its default is shown in the last column.
    """
    columns = {title: report["sources"].get(name) for name, title in TITLES.items()}
    if baseline is not None:
        columns["baseline, as it plays"] = baseline["sources"]["default"]
    columns = {title: found for title, found in columns.items() if found is not None}
    rows = [
        [title, *(markdown.number(found["measures"][name]) for found in columns.values())]
        for name, title in measures.TITLES.items()
    ]
    for title, where, name in (
        ("distance of these measures, standard deviations", None, "distance"),
        ("two-sample AUC by these measures", None, "auc"),
        ("distance of features not chosen by", "unchosen", "distance"),
        ("two-sample AUC by features not chosen by", "unchosen", "auc"),
    ):
        figures = [found if where is None else found[where] for found in columns.values()]
        rows.append([title, *(_figure(figure[name]) for figure in figures)])
    head = (
        f"As `accompany` plays each window by default: best of {report['candidates']} candidates, guidance "
        f"{report['guidance']:g}. AUC 0.5: cannot be told from the real band; 1: always."
    )
    return f"{head}\n\n" + markdown.table(["what a listener gets", *columns], rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
