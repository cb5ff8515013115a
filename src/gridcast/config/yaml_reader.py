"""Read an experiment from YAML, and report every fault in one message."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from gridcast.config.configuration import BUILT_IN_LAYERS
from gridcast.config.error_messages import explain, shortened
from gridcast.config.example_files import example_files
from gridcast.config.experiment import PLUGINS, Experiment
from gridcast.config.plugins import NO_PLUGINS, Plugins
from gridcast.config.selection_metrics import VALIDATION_PREFIX
from gridcast.config.yaml_loader import ExperimentLoader
from gridcast.runtime.errors import ConfigError, suggest

PATH_KEYS = ("source", "static_source", "labels")
"""Keys of `data` that name files."""
MAX_BYTES = 2**20
"""Size of an experiment file; the examples have some thousand bytes."""
MAX_FAULTS = 20
"""Faults that one message lists."""


def read(path: Path | str, plugins: Plugins = NO_PLUGINS) -> Experiment:
    """Return the experiment in the YAML file `path`. Raises ConfigError with every fault in one message.

    The files that it names are looked for beside it first, then in the working directory. It may name `plugins`.
    """
    return parse(read_text(path), str(path), plugins)


def read_text(path: Path | str) -> str:
    """Return the YAML text of the file `path`, with the paths of data that lie beside it as they are from here."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: is a folder or a device, not an experiment file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_BYTES:,} bytes, which no experiment file needs")
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = suggest(Path(path).name, (p.name for p in Path(path).parent.glob("*.y*ml")))
        near = "; run `gridcast examples`, which writes it" if Path(path) in example_files() else near
        raise ConfigError(f"{path}: no such experiment file{near}") from None
    except (OSError, ValueError) as error:  # not UTF-8, or no path at all
        raise ConfigError(f"{shortened(str(path))}: cannot be read as UTF-8 text: {shortened(str(error))}") from None
    return with_paths_from(text, Path(path).parent)


def with_paths_from(text: str, folder: Path) -> str:
    """Return the YAML `text` with each path of data that exists in `folder` as a path from the working directory.

    Nothing else changes, comments and order stay.
    """
    try:
        root = yaml.compose(text, Loader=ExperimentLoader)
    except yaml.YAMLError:  # which `parse` reports
        return text
    if folder.resolve() == Path.cwd() or not isinstance(root, yaml.MappingNode):
        return text
    data = next((value for key, value in root.value if key.value == "data"), None)
    fields = data.value if isinstance(data, yaml.MappingNode) else []
    named = [value for key, value in fields if key.value in PATH_KEYS and isinstance(value, yaml.ScalarNode)]
    for node in reversed(named):
        beside = str(folder / node.value)
        if "://" not in node.value and (os.path.isfile(beside) or glob.glob(beside, recursive=True)):  # noqa: PTH113, PTH207
            text = text[: node.start_mark.index] + json.dumps(beside, ensure_ascii=False) + text[node.end_mark.index :]
    return text


def parse(text: str, origin: str = "experiment", plugins: Plugins = NO_PLUGINS) -> Experiment:
    """Return the experiment in the YAML `text`; `origin` names it in errors. Raises ConfigError.

    It may name `plugins`.
    """
    try:
        content = yaml.load(text, Loader=ExperimentLoader)  # noqa: S506 - a SafeLoader: data, no code
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
        lines = [
            f"{origin}: {shortened(_line(fault))}"
            for fault in faults[:MAX_FAULTS]
            if not _follows_from_items(fault, faults)
        ]
        lines += [f"{origin}: and {len(faults) - MAX_FAULTS:,} more faults"] if len(faults) > MAX_FAULTS else []
        raise ConfigError("\n".join(lines)) from None


def names_of_plugins(text: str) -> dict[str, set[str]]:
    """Return the names in the YAML `text` of an experiment that may be plug-ins, by kind; none of broken YAML."""
    try:
        content = yaml.load(text, Loader=ExperimentLoader)  # noqa: S506 - as above
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
    content = yaml.load(text, Loader=ExperimentLoader)  # noqa: S506 - as above
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
