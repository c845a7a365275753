"""Pages of the documentation that are made from the code, so that they cannot fall behind it.

`mkdocs build` calls `on_config` and `on_files`. The pages: every command's `--help`, the public Python names with their
docstrings, the floors of the package as import-linter checks them, and the model card of the default.
"""

import contextlib
import inspect
import io
import re
import textwrap
import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
FIRST = (
    "index.md", "guides/one-song.md", "guides/controls.md", "guides/collections.md", "guides/any-midi.md",
    "guides/datasets.md", "guides/training.md", "guides/magenta.md", "guides/latent.md", "guides/export.md",
    "reference/cli.md", "reference/python.md", "reference/manifest.md",
    "reference/checkpoint.md", "explain/how-it-works.md", "explain/determinism.md", "explain/architecture.md",
)  # fmt: skip
"""Order of the navigation; pages that are not named here follow by name."""
SECTIONS = {
    "": "About",
    "guides": "Guides",
    "reference": "Reference",
    "explain": "Explanations",
    "decisions": "Decisions",
}
API = {
    "Playing": [
        "jaxaccomp.load", "jaxaccomp.Accompanist", "jaxaccomp.Accompanist.accompany", "jaxaccomp.Accompaniment",
    ],
    "Music": [
        "jaxaccomp.music.midi.read", "jaxaccomp.music.midi.write", "jaxaccomp.music.midi.Score",
        "jaxaccomp.music.trio.extract", "jaxaccomp.music.trio.to_score", "jaxaccomp.music.melody.choose",
        "jaxaccomp.music.melody.windows", "jaxaccomp.music.stitch.stitch",
    ],
    "Models": [
        "jaxaccomp.models.musicvae.MusicVAE", "jaxaccomp.models.surrogate.SurrogateEncoder",
        "jaxaccomp.generate.sampler.sample", "jaxaccomp.config.MusicVAEConfig", "jaxaccomp.config.SurrogateConfig",
        "jaxaccomp.config.ModelConfig",
    ],
    "Weights": [
        "jaxaccomp.weights.porting.port", "jaxaccomp.weights.checkpoint.load", "jaxaccomp.weights.checkpoint.save",
    ],
    "Training": ["jaxaccomp.training.objectives.vae_loss", "jaxaccomp.data.batches.Batches"],
}  # fmt: skip


def on_config(config: Any) -> Any:
    """Lays out the navigation: the pages that `FIRST` names in its order, then all others by name."""
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages = written | set(_generated())
    ordered = [name for name in FIRST if name in pages] + sorted(pages - set(FIRST))
    nav: list[Any] = ["index.md"]
    for section, title in (*list(SECTIONS.items())[1:], ("", SECTIONS[""])):
        inside = [name for name in ordered if _section(name) == section and name != "index.md"]
        nav += [{title: inside}] if inside else []
    config["nav"] = nav
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages."""
    from mkdocs.structure.files import File

    for name, make in _generated().items():
        files.append(File.generated(config, name, content=make()))
    return files


def _section(name: str) -> str:
    return "" if "/" not in name else name.rsplit("/", 1)[0].rsplit("/", 1)[-1]


def _generated() -> dict[str, Any]:
    return {
        "reference/cli.md": cli_page,
        "reference/python.md": api_page,
        "reference/model-card.md": lambda: (ROOT / "checkpoints" / "trio-small" / "card.md").read_text(),
        "explain/architecture.md": architecture_page,
    }


def cli_page() -> str:
    """Every command's `--help`."""
    from jaxaccomp import cli

    lines = ["# Command line", ""]
    lines += ["`python infer.py` and `python train.py` are the verbs `infer` and `train` of `python -m jaxaccomp`.", ""]
    lines += ["Exit codes: 0 all done; 1 something could not be done (one sentence on stderr); 2 wrong usage.", ""]
    for command in [[], *([verb] for verb in cli.VERBS)]:
        lines += [f"## {' '.join(command) or 'python -m jaxaccomp'}", "", "```text", _help([*command]), "```", ""]
        for below in _verbs_below(command):
            lines += [f"### {' '.join(below)}", "", "```text", _help(below), "```", ""]
    return "\n".join(lines)


def _help(command: list[str]) -> str:
    from jaxaccomp import cli

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = cli.main([*command, "--help"])
    assert code == 0, f"{command} --help exits with {code}"
    return told.getvalue().rstrip()


def _verbs_below(command: list[str]) -> list[list[str]]:
    """Sub-commands, read from the usage line's braces or the list of positional arguments."""
    if not command:
        return []
    text = _help(command)
    found = re.search(r"positional arguments:\n  (?:\{([\w,-]+)\}|\S+\n((?:    [a-z][\w-]*\s.*\n?| {6,}.*\n?)+))", text)
    if not found:
        return []
    names = found[1].split(",") if found[1] else re.findall(r"^    ([a-z][\w-]*)", found[2], re.MULTILINE)
    return [[*command, name] for name in names]


def api_page() -> str:
    """Signatures and docstrings of the public names."""
    lines = ["# Python", "", "`import jaxaccomp` loads no JAX; its names are found when they are first used.", ""]
    lines += ["Array names end in their dimensions, one letter each: `tokens_BLP` is batch, step, part.", ""]
    for title, names in API.items():
        lines += [f"## {title}", ""]
        for name in names:
            thing = resolve_name(name)
            kind = "class" if inspect.isclass(thing) else "def"
            short = name.removeprefix("jaxaccomp.") if name.count(".") > 1 else name
            lines += [f"### {short}", "", "```python", f"{kind} {name}{_signature(thing)}", "```", ""]
            lines += [_markdown(inspect.getdoc(thing) or ""), ""]
    return "\n".join(lines)


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _markdown(docstring: str) -> str:
    """Google sections as lists; code that is indented stays code."""
    made = []
    for line in docstring.splitlines():
        heading = re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line)
        item = re.fullmatch(r" {4}(\w[\w.]*): (.*)", line)
        if heading:
            made += [f"**{heading[1]}**", ""]
        elif item:
            made.append(f"* `{item[1]}`: {item[2]}")
        else:
            made.append(line[4:] if re.match(r" {4}\S", line) and made and not made[-1].startswith("    ") else line)
    return textwrap.dedent("\n".join(made))


def architecture_page() -> str:
    """The floors of the package, as pyproject.toml gives them to import-linter, and what is on each."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")
    lines = [
        "# Architecture",
        "",
        "Imports go down only: a module may use what stands on a lower floor, and nothing above it or beside it.",
        "`lint-imports` checks this in CI, and a test checks that no modules import each other in a circle.",
        "",
        "| floor | module | what it is |",
        "|---|---|---|",
    ]
    floors = layers["layers"]
    for floor, names in zip(range(len(floors) - 1, -1, -1), floors, strict=True):
        for name in names.split("|"):
            module = f"{layers['containers'][0]}.{name.strip()}"
            about = (import_module(module).__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
            lines.append(f"| {floor} | `{module}` | {about} |")
    lines += ["", "Contracts in `pyproject.toml`:", ""]
    lines += [f"* {contract['name']}." for contract in contracts]
    lines += ["", f"`tests/` mirrors this tree. A file has at most {MOST_LINES} lines.", ""]
    return "\n".join(lines)
