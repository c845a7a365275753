"""The report of `metrics` as text for people: tables of figures, and the model card around them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxaccomp.arrays import BAND
from jaxaccomp.config import ModelConfig
from jaxaccomp.evaluation import accompanied_table
from jaxaccomp.evaluation.markdown import number as _number
from jaxaccomp.evaluation.markdown import table as _table

Report = Mapping[str, Any]

SOURCE_NAMES = {
    "encoder": "encoder (ceiling)",
    "surrogate": "surrogate, mean",
    "surrogate_sample": "surrogate, sample",
    "prior_mean": "z = 0",
    "prior_sample": "z from the prior",
    "shuffled": "another song's z",
}
MEASURE_NAMES = {
    "bass_in_key": "bass notes in the melody's key",
    "bass_consonance": "bass consonant with the melody on beats 1 and 3",
    "bass_with_melody": "bass notes that begin with a melody note",
    "bass_with_kick": "bass notes that begin with a kick",
    "bass_notes_per_bar": "bass notes a bar",
    "bass_empty_bars": "bars without bass",
    "bass_repetition": "bass bars equal to the one before",
    "drum_hits_per_bar": "drum steps a bar",
    "drum_empty_bars": "bars without drums",
    "drum_repetition": "drum bars equal to the one before",
    "drum_consistency": "hits kept from bar to bar",
    "kick_on_strong_beats": "kicks on beats 1 and 3",
    "snare_on_backbeats": "snares on beats 2 and 4",
}
SOURCES = ("real", "real_shuffled", "encoder", "surrogate_sample", "surrogate", "prior_sample", "shuffled")
"""Columns of the table of what is heard, from the real thing down."""


class Run(NamedTuple):
    """A training run as its folder tells of it."""

    settings: Mapping[str, Any]
    """Of config.json."""
    lines: Sequence[Mapping[str, Any]]
    """Of metrics.jsonl."""


class Model(NamedTuple):
    """What a card says of the model itself."""

    name: str
    config: ModelConfig
    parameters: int
    disk_bytes: int
    dtype: str
    fingerprint: str


def summary(report: Report, baseline: Report | None = None, apart: Report | None = None) -> str:
    """The figures of a report as Markdown tables.

    Args:
        report: what `metrics.evaluate` gave.
        baseline: the report of another checkpoint on the same windows, shown beside.
        apart: the report of another surrogate of the same MusicVAE, trained on its frozen latents, likewise.
    """
    head = (
        f"{report['windows']:,} of {report['windows_available']:,} windows from {report['songs']} songs; "
        f"{report['sampled_windows']:,} of them played, at temperature "
        f"{', '.join(f'{value:g} ({part})' for part, value in report['temperature'].items())}, "
        f"surrogate samples at spread {report['spread']:g}."
    )
    if apart is not None:
        head += " Surrogate trained apart: by `train.py surrogate`, on this MusicVAE's latents."
    if baseline is not None:
        head += f" Baseline: `{baseline['checkpoint']}`, on {baseline['windows']:,} windows."
    warning = "" if report["latents_are_this_encoders"] else _STRANGE
    pieces = [
        head + warning,
        _likelihood_table(report),
        _latent_lines(report, baseline, apart),
        _musicality_table(report, baseline),
    ]
    if report.get("accompanied"):
        pieces.append(accompanied_table.table(report["accompanied"], (baseline or {}).get("accompanied")))
    if report["sweep"]:
        pieces.append(_sweep_table(report))
    return "\n\n".join(pieces)


_STRANGE = (
    "\n\n**These latents were not made by this checkpoint's encoder: every row that uses them means nothing.** "
    "Make them with `python -m jaxaccomp latents`."
)


def card(
    model: Model,
    report: Report,
    *,
    about: str = "",
    runs: Sequence[Run] = (),
    machine: str = "",
    command: str = "",
    baseline: Report | None = None,
    apart: Report | None = None,
) -> str:
    """The model card, in Markdown.

    Args:
        model: what it is.
        report: what `metrics.evaluate` gave.
        about: text on data, licenses and known limits, which no figure tells.
        runs: the runs that trained it, in order.
        machine: what they ran on.
        command: what measured the figures.
        baseline: see `summary`.
        apart: likewise.
    """
    pieces = [f"# {model.name}", _model_lines(model)]
    if about:
        pieces.append(about.strip())
    if runs:
        pieces.append("## Training")
        pieces += [_run_lines(run, machine) for run in runs]
    pieces.append("## Held-out figures")
    if command:
        pieces.append(f"Measured by\n\n    {command}")
    pieces += [summary(report, baseline, apart), _READING]
    return "\n\n".join(pieces) + "\n"


_READING = """\
NLL: negative log-likelihood of the real part given z, teacher-forced, in nats a 16-bar window. Onset accuracy counts
the tokens that begin a note or hit a drum, and those alone. Code length: NLL of bass and of drums at a draw of z from
the encoder + KL(encoder ‖ surrogate); what the real band costs once the melody is known. Gap closed: (z = 0 −
surrogate) / (z = 0 − encoder), with its 95 % interval over songs. What is heard: shares unless a unit is given, means
over windows; *real, shuffled* is the real bass and drums of another song under each melody. Overlap: mean overlapping
area of the distributions of all measures and of pitches, positions and drum tokens with the real songs'; one half of
the real songs against the other reaches what *real* shows (*real, shuffled* is more alike, since it is the same bass
and drums in another order)."""


def _model_lines(model: Model) -> str:
    vae, surrogate = model.config.musicvae, model.config.surrogate
    lines = [
        "Bass and drums for a melody, in 16-bar windows: a MusicVAE for melody, bass and drums, and a surrogate "
        "encoder that guesses its latent from the melody alone."
        if surrogate
        else "A MusicVAE for melody, bass and drums in 16-bar windows. It has no surrogate yet.",
        "",
        f"* MusicVAE: encoder {_sizes(vae.encoder_sizes)} (bidirectional), conductor {_sizes(vae.conductor_sizes)}, "
        f"decoders {_sizes(vae.decoder_sizes)}, z {vae.latent_size}",
    ]
    if surrogate:
        lines.append(f"* surrogate: {_sizes(surrogate.sizes)} (bidirectional)")
    if model.config.guide is not None:
        guide = model.config.guide
        lines.append(
            f"* guide: pitch class expert {_sizes(guide.harmony_sizes)}, onset expert {_sizes(guide.rhythm_sizes)}"
        )
    if model.config.correlation is not None:
        lines.append("* correlation of the surrogate's errors, for its draws")
    if model.config.critic is not None:
        critic = model.config.critic
        about_drums = f", and {critic.drum_trees} about drums alone" if critic.drum_trees else ""
        lines.append(
            f"* critic: {critic.trees} trees of depth {critic.depth} over {len(critic.features)} features{about_drums}"
        )
    lines.append(f"* {model.parameters:,} parameters, {model.disk_bytes / 1e6:.1f} MB on disk as {model.dtype}")
    lines.append(f"* fingerprint `{model.fingerprint[:16]}`")
    return "\n".join(lines)


def _run_lines(run: Run, machine: str) -> str:
    settings = dict(run.settings)
    objective = settings.pop("objective", "vae")
    for place in ("data", "checkpoint"):  # of the machine it ran on
        settings.pop(place, None)
    batch = settings.get("batch_size", 0)
    steps = max((line["step"] for line in run.lines), default=0)
    rates = [line["examples_per_s"] for line in run.lines if line.get("examples_per_s")]
    measured = [line for line in run.lines if line.get("validation") is not None]
    lines = [f"### {objective}", "", f"* {steps:,} steps of {batch} windows, {steps * batch:,} windows in all"]
    if rates:
        rate = float(np.median(rates))
        hours = steps * batch / rate / 3600
        lines.append(
            f"* {rate:,.0f} windows/s (median), {_duration(hours)} in all{f', on {machine}' if machine else ''}"
        )
    if measured:
        best = min(measured, key=lambda line: line["validation"])
        lines.append(
            f"* best on validation songs at step {best['step']:,}: {best['validation']:.2f}; that state is kept"
        )
    shown = ", ".join(f"`{name}` {_setting(value)}" for name, value in settings.items())
    command = f"python train.py {objective} --data DATA --workdir RUN --config SETTINGS.json"
    lines += [f"* `{command}` with {shown}"]
    return "\n".join(lines)


def _likelihood_table(report: Report) -> str:
    rows = []
    for source, name in SOURCE_NAMES.items():
        nll = report["nll"].get(source)
        if nll is None:
            continue
        accuracy, onset = report["accuracy"][source], report["onset_accuracy"][source]
        row = [name, *(f"{nll[part]:.1f}" for part in ("melody", *BAND))]
        rows.append([*row, *(_number(table[part]) for table in (accuracy, onset) for part in BAND)])
    columns = [
        "z from",
        "NLL melody",
        "NLL bass",
        "NLL drums",
        "accuracy bass",
        "drums",
        "onset accuracy bass",
        "drums",
    ]
    return _table(columns, rows)


def _latent_lines(report: Report, baseline: Report | None, apart: Report | None) -> str:
    columns = {"this": report, "surrogate trained apart": apart, "baseline": baseline}
    names = ["", *(name for name, one in columns.items() if one is not None)]
    reports = [one for one in columns.values() if one is not None]
    lines: list[list[str]] = []

    def row(name: str, figure: Any) -> None:
        values = [figure(one) for one in reports]
        if any(value is not None for value in values):
            lines.append([name, *("–" if value is None else value for value in values)])

    row("code length of the band given the melody, nats", lambda one: _code_length(one.get("code_length")))
    for part in BAND:
        row(f"gap closed, {part}", lambda one, p=part: _gap(one, p))
    for part in BAND:
        row(
            f"NLL {part}, surrogate",
            lambda one, p=part: one["nll"]["surrogate"] and f"{one['nll']['surrogate'][p]:.1f}",
        )
    row("R² over active dimensions", lambda one: _maybe(one["latent"]["r_squared"]))
    row("cosine", lambda one: _maybe(one["latent"]["cosine"]))
    row("KL(encoder ‖ surrogate), nats", lambda one: _maybe(one["latent"]["kl_to_surrogate"], "{:.1f}"))
    for key, name in (
        ("mean_square", "calibration: mean square of standardised errors (honest: 1)"),
        ("within_1", "calibration: share within 1 scale (honest: 0.683)"),
        ("within_2", "calibration: share within 2 scales (honest: 0.954)"),
    ):
        row(name, lambda one, k=key: one["latent"]["calibration"] and _maybe(one["latent"]["calibration"][k]))
    row("active dimensions of z", lambda one: f"{one['latent']['active']} of {one['latent']['size']}")
    row("KL(encoder ‖ prior), bits", lambda one: _maybe(one["latent"]["kl_bits"], "{:.1f}"))
    row("NLL at the encoder's mean, all parts", lambda one: f"{sum(one['nll']['encoder'].values()):.1f}")
    for part in ("melody", *BAND):
        row(
            f"argmax reconstruction of {part}: accuracy, on onsets",
            lambda one, p=part: (
                _number(one["reconstruction"]["accuracy"][p])
                + ", "
                + _number(one["reconstruction"]["onset_accuracy"][p])
            ),
        )
    return _table(names, lines)


def _code_length(found: Mapping[str, float] | None) -> str | None:
    if found is None:
        return None
    return f"{found['total']:.1f} = {found['bass']:.1f} + {found['drums']:.1f} + {found['kl_to_surrogate']:.1f}"


def _musicality_table(report: Report, baseline: Report | None) -> str:
    columns = [source for source in SOURCES if report["statistics"].get(source) is not None]
    titles = {"real_shuffled": "real, shuffled", **SOURCE_NAMES}
    names = ["what is heard", *(titles.get(source, source) for source in columns)]
    extra = baseline["statistics"]["surrogate"] if baseline is not None else None
    if extra is not None:
        names.append("baseline, mean")
    rows = []
    for measure, name in MEASURE_NAMES.items():
        values = [report["statistics"][source][measure] for source in columns]
        rows.append([name, *map(_number, values), *([_number(extra[measure])] if extra is not None else [])])
    overlap = report["overlap"]
    means = [overlap["real_halves" if source == "real" else source] for source in columns]
    last = ["overlap with real songs", *(_number(mean and mean["mean"]) for mean in means)]
    if extra is not None:
        last.append(_number(baseline["overlap"]["surrogate"]["mean"]))
    return _table(names, [*rows, last])


def _sweep_table(report: Report) -> str:
    shown = ("bass_notes_per_bar", "bass_empty_bars", "bass_in_key", "bass_repetition", "drum_hits_per_bar",
             "drum_repetition", "drum_consistency")  # fmt: skip
    real = report["statistics"]["real"]
    rows = [
        [
            "real songs",
            "",
            *(_number(real[measure]) for measure in shown),
            _number((report["overlap"]["real_halves"] or {}).get("mean")),
        ]
    ]
    for one in report["sweep"]:
        temperature = ", ".join(f"{one['temperature'][part]:g}" for part in BAND)
        rows.append(
            [
                temperature,
                f"{one['spread']:g}",
                *(_number(one["statistics"][m]) for m in shown),
                _number(one["overlap"]),
            ]
        )
    return _table(["temperature bass, drums", "spread", *(MEASURE_NAMES[m] for m in shown), "overlap"], rows)


def _gap(report: Report, part: str) -> str | None:
    if report["gap_closed"] is None or report["gap_closed_interval"][part] is None:
        return None
    low, high = report["gap_closed_interval"][part]
    return f"{report['gap_closed'][part]:.2f} ({low:.2f} to {high:.2f})"


def _maybe(value: float | None, form: str = "{:.3f}") -> str | None:
    return None if value is None else form.format(value)


def _setting(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _sizes(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes))


def _duration(hours: float) -> str:
    return f"{60 * hours:.0f} min" if hours < 1.5 else f"{hours:.1f} h"
