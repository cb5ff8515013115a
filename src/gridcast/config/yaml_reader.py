"""Read an experiment from YAML, and report every fault in one message."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from gridcast.config.configuration import BUILT_IN_LAYERS
from gridcast.config.error_messages import explain
from gridcast.config.example_files import example_files
from gridcast.config.experiment import PLUGINS, Experiment
from gridcast.config.plugins import NO_PLUGINS, Plugins
from gridcast.config.selection_metrics import VALIDATION_PREFIX
from gridcast.runtime.errors import ConfigError, suggest

PATH_KEYS = ("source", "static_source", "labels")
"""Keys of `data` that name files."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader that reads 1e-3 as a number (YAML 1.1 requires 1.0e-3) and refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' occurs twice; keep one of them", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
# YAML would turn a date into a date object; here it stays text, which the format of the data decides how to read.
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def read(path: Path | str, plugins: Plugins = NO_PLUGINS) -> Experiment:
    """Return the experiment in the YAML file `path`. Raises ConfigError with every fault in one message.

    The files that it names are looked for beside it first, then in the working directory. It may name `plugins`.
    """
    return parse(read_text(path), str(path), plugins)


def read_text(path: Path | str) -> str:
    """Return the YAML text of the file `path`, with the paths of data that lie beside it as they are from here."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = suggest(Path(path).name, (p.name for p in Path(path).parent.glob("*.y*ml")))
        near = "; run `gridcast examples`, which writes it" if Path(path) in example_files() else near
        raise ConfigError(f"{path}: no such experiment file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return with_paths_from(text, Path(path).parent)


def with_paths_from(text: str, folder: Path) -> str:
    """Return the YAML `text` with each path of data that exists in `folder` as a path from the working directory.

    Nothing else changes, comments and order stay.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:  # which `parse` reports
        return text
    if folder.resolve() == Path.cwd() or not isinstance(root, yaml.MappingNode):
        return text
    data = next((value for key, value in root.value if key.value == "data"), None)
    fields = data.value if isinstance(data, yaml.MappingNode) else []
    named = [value for key, value in fields if key.value in PATH_KEYS and isinstance(value, yaml.ScalarNode)]
    for node in reversed(named):
        beside = folder / node.value
        if "://" not in node.value and (beside.is_file() or glob.glob(str(beside), recursive=True)):  # noqa: PTH207
            text = (
                text[: node.start_mark.index]
                + json.dumps(str(beside), ensure_ascii=False)
                + text[node.end_mark.index :]
            )
    return text


def parse(text: str, origin: str = "experiment", plugins: Plugins = NO_PLUGINS) -> Experiment:
    """Return the experiment in the YAML `text`; `origin` names it in errors. Raises ConfigError.

    It may name `plugins`.
    """
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader: data, no code
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{origin}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: expected keys such as name, data, window and grid; the file holds none")
    try:
        return Experiment.model_validate(content, context={PLUGINS: plugins})
    except ValidationError as error:
        faults = error.errors()
        lines = [f"{origin}: {_line(fault)}" for fault in faults if not _follows_from_items(fault, faults)]
        raise ConfigError("\n".join(lines)) from None


def names_of_plugins(text: str) -> dict[str, set[str]]:
    """Return the names in the YAML `text` of an experiment that may be plug-ins, by kind; none of broken YAML."""
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - as above
    except yaml.YAMLError:
        return {}
    sections = content if isinstance(content, dict) else {}
    grid, training, selection = (sections.get(key) for key in ("grid", "training", "selection"))
    settings = [sections.get("baseline"), *(grid if isinstance(grid, list) else [grid])]
    layers = [part.get("layer") for part in settings if isinstance(part, dict)]
    callbacks = training.get("callbacks") if isinstance(training, dict) else ()
    metric = selection.get("metric") if isinstance(selection, dict) else ()
    return {
        "networks": _texts(layers) - set(BUILT_IN_LAYERS),
        "baselines": _texts(sections.get("baselines")) - {"auto"},
        "callbacks": _texts(callbacks),
        "metrics": {name.removeprefix(VALIDATION_PREFIX) for name in _texts(metric)},
    }


def _texts(value: object) -> set[str]:
    """All texts in a value, a list, or a list of lists."""
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    return {value} if isinstance(value, str) else set()


def with_source(text: str, source: str) -> str:
    """Return the YAML `text` of an experiment with `source` as its data; comments are lost."""
    content = yaml.load(text, Loader=_Loader)  # noqa: S506 - as above
    content["data"]["source"] = source
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _follows_from_items(fault: Any, faults: Sequence[Any]) -> bool:
    """Whether a list is too short only because its items were refused, each with a fault of its own."""
    return fault["type"] == "too_short" and any(other["loc"][:-1] == fault["loc"] for other in faults)


def _line(fault: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    if fault["type"] == "value_error":
        message = str(fault["ctx"]["error"])
        names_field = message.startswith((path, "selection", "split", "search", "anomaly"))
        return message if not path or names_field else f"{path}: {message}"
    return f"{path}: {explain(fault, _section(fault['loc'][:-1]))}"


def _section(path: tuple[Any, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Experiment
    for part in path:
        field = section.model_fields.get(part)
        kinds = get_args(field.annotation) or (field.annotation,) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            break
        section = inner[0]
    return section
