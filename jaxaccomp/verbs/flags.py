"""Command line flags generated from config dataclasses, so that `--help` cannot drift from the code."""

import argparse
import dataclasses
import json
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from jaxaccomp import config as configs
from jaxaccomp.errors import ConfigError, UsageError

Config = TypeVar("Config")


def add(parser: argparse.ArgumentParser, kind: type, title: str) -> Any:
    """Adds one flag for each field of the config class `kind`, under a heading, and returns the group.

    A flag that is not given is absent from the parsed namespace, so that `build` can tell it from one set to its
    default. Nested configs are not expanded: add each under its own title.
    """
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(kind)
    for f in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[f.name]) or f.metadata.get("has_own_flag"):
            continue
        options = _options(hints[f.name])
        if "metavar" in f.metadata:
            options["metavar"] = f.metadata["metavar"]
        if "choices" in f.metadata:
            options = {"choices": f.metadata["choices"]}
        text = f.metadata.get("help", "")
        if f.default is not dataclasses.MISSING and f.default is not None:
            text += f" (default: {_shown(f.default)})"
        flag = "--" + f.name.replace("_", "-")
        group.add_argument(flag, dest=f.name, default=argparse.SUPPRESS, help=text.replace("%", "%%"), **options)
    return group


def build(kind: type[Config], arguments: argparse.Namespace, file: Path | None = None, base: Any = None) -> Config:
    """A config from flags over a JSON file over `base` (or the class's defaults).

    Raises:
        UsageError: the file is not readable JSON, or a value is out of range.
    """
    values = dataclasses.asdict(base) if base is not None else {}
    names = {f.name for f in dataclasses.fields(kind)}
    if file is not None:
        values.update({name: value for name, value in read(file).items() if name in names})
    values.update({name: value for name, value in vars(arguments).items() if name in names})
    try:
        return configs.from_json(kind, values)
    except ConfigError as error:
        name = re.match(r"\w*", str(error))[0]
        flag = "--" + name.replace("_", "-") if name in names else name
        raise UsageError(flag + str(error)[len(name) :]) from error


def read(file: Path) -> dict[str, Any]:
    """Settings by name, from a JSON file.

    Raises:
        UsageError: the file is not readable JSON, or no object.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: settings are not readable as JSON ({error})") from error
    if not isinstance(stored, dict):
        raise UsageError(f"{file}: expected a JSON object of settings, got {type(stored).__name__}")
    return stored


def _shown(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _options(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _options(next(a for a in arguments if a is not type(None)))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if origin is Literal:
        return {"choices": arguments}
    if origin is tuple:
        item = arguments[0]
        return {"type": _listed(item), "metavar": f"{item.__name__.upper()},…"}
    return {"type": hint, "metavar": hint.__name__.upper()}


def _listed(item: type):
    def parse(text: str) -> tuple:
        try:
            return tuple(item(part) for part in text.split(","))
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"expected comma-separated {item.__name__} values, got {text!r}"
            ) from error

    return parse
