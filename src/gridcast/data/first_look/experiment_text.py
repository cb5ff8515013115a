"""The text of an experiment file from its draft: each key with its reason, and options as comments."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from gridcast.config.commented_yaml import flow, key_line
from gridcast.data import file_bytes
from gridcast.data.first_look.draft import Draft, Option

SCHEMA_FILE = "gridcast.schema.json"
DATA_ORDER = (
    *("source", "query", "sheet", "skip", "encoding", "time", "time_unit", "time_zone", "series", "target", "sensors"),
    *(
        "labels",
        "wide",
        "pivot",
        "future",
        "frequency",
        "calendar",
        "aggregate",
        "repeated",
        "gaps",
        "short",
        "missing",
    ),
    *("dates", "decimal", "select"),
)
SCALES = "minmax, standard, mean-abs or none; per series, fitted on the training span"


def experiment_text(draft: Draft, source: str) -> str:
    """Return the YAML of `draft`; `source` is what the person gave."""
    content, reasons = draft.content, draft.reasons
    is_anomaly = content["task"] == "anomaly"
    facts = draft.facts
    command = shlex.quote(" ".join(file_bytes.shown(source).split()))
    lines = [
        f"# Written by `gridcast new {command}`: a first experiment, for you to edit.",
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# (Editors explain and check each key with that file: `gridcast schema > {SCHEMA_FILE}` makes it.)",
        *(f"# CHECK: {' '.join(doubt.split())}" for doubt in draft.doubts),
        "version: 1",
        key_line("name", content["name"], reasons.get("name", "")),
        key_line("task", content["task"], reasons.get("task", _task_reason(content["task"]))),
        "",
        "data:",
        *_data_lines(draft),
        "",
        key_line("window", content["window"], _window_reason(reasons["window"], content["window"])),
        key_line("split", content["split"], "shares of the time axis, in this order" + _folds(content)),
    ]
    if content["task"] == "forecast":
        lines += ["transform: {scale: minmax}".ljust(44) + f" # {SCALES}", "# transform: {log1p: true, scale: minmax}"]
        lines[-1] = f"{lines[-1]:<44} # for counts that vary by orders of magnitude"
    lines += [
        "",
        key_line("baseline", content["baseline"], _baseline_reason(reasons)),
        key_line("baselines", ["auto"], "what the networks must beat: all that suit the data; or names of some"),
        "grid:                                        # every combination is trained; each list is an axis",
        *(
            key_line(axis, values, _axis_reason(axis, content["task"]), indent=2)
            for axis, values in content["grid"].items()
        ),
        "  # learning_rate: [0.001, 0.003]            # further axes: dropout, batch_size, lookback, layers, ...",
        key_line("training", content["training"], _training_reason(content["training"])),
    ]
    if is_anomaly:
        lines.append(key_line("anomaly", content["anomaly"], "sets the threshold; the report says what it was"))
    lines.append(key_line("selection", content["selection"], _selection_reason(content["selection"])))
    if facts.get("season"):
        lines.insert(lines.index("data:"), f"# A season of {facts['season']} steps was found.")
    return "\n".join(lines) + "\n"


def _data_lines(draft: Draft) -> list[str]:
    data, facts, reasons = draft.content["data"], draft.facts, draft.reasons
    about = {
        "source": facts["source"],
        "time": f"{facts['span']}; {reasons.get('time', '')}",
        "series": f"{facts['series']}; {reasons.get('series', '')}",
        "frequency": f"{reasons.get('frequency', '')}; or h, D, B, W, M, ...",
    }
    lines, options = [], {option.key: option for option in draft.options}
    order = [*DATA_ORDER, *(key for key in data if key not in DATA_ORDER)]
    for key in order:
        if key in data and not (draft.question and key == draft.question.setting):
            lines.append(key_line(key, data[key], about.get(key, reasons.get(key, "")), indent=2))
        if key == "frequency" and "calendar" not in data and draft.content["task"] != "anomaly":
            lines.append(key_line("calendar", facts["calendar"], "as the stamps show", indent=2, is_option=True))
        if key == "target" and "past" in options:
            lines.append(_option_line(options.pop("past"), data))
        if key == "future" and "future" in options:
            lines.append(_option_line(options.pop("future"), data))
    lines += [_option_line(option, data) for option in options.values()]
    if draft.content["task"] != "anomaly" and facts.get("season"):
        why = "steps of the season, for the baselines; found if left out"
        lines.append(key_line("period", int(facts["season"]), why, indent=2, is_option=True))
    if "time_zone" not in data:
        why = "the place of the stamps, if its days and clock changes matter"
        lines.append(key_line("time_zone", "Europe/Berlin", why, indent=2, is_option=True))
    return [*lines, *_question_lines(draft)]


def _option_line(option: Option, data: Mapping[str, Any]) -> str:
    both = [*data[option.key], *option.value] if option.key in data else option.value
    return key_line(option.key, both, option.reason, indent=2, is_option=True)


def _question_lines(draft: Draft) -> list[str]:
    """The question that a person must answer, with a line for each answer."""
    question = draft.question
    if question is None:
        return []
    return [
        f"  # QUESTION: {' '.join(question.message.split())}.",
        "  # Keep one of these lines, without its first sign:",
        *(f"  # {question.setting}: {flow(choice)}" for choice in question.choices),
    ]


def _folds(content: Mapping[str, Any]) -> str:
    """The other form of a split, which detectors do not have."""
    return "" if content["task"] == "anomaly" else f"; or {{folds: 4, horizon: {content['window']['horizon']}}}"


def _task_reason(task: str) -> str:
    return {"forecast": "point forecasts; or probabilistic, for intervals"}.get(task, "as stated")


def _window_reason(reason: str, window: Mapping[str, int]) -> str:
    return reason + ("; stride thins out the windows of a long table" if "stride" in window else "")


def _baseline_reason(reasons: Mapping[str, str]) -> str:
    scaling = f"; scaling: {reasons['baseline']}" if "baseline" in reasons else ""
    return "settings of a network where the grid sets none" + scaling


def _training_reason(training: Mapping[str, Any]) -> str:
    refit = "; refit: the winner is trained once more, on the validation span too" if "refit" in training else ""
    return "small, to see a result within minutes: raise epochs later" + refit


def _selection_reason(selection: Mapping[str, Any]) -> str:
    ensemble = "; ensemble: or a weighted mean of all, where it is better" if "ensemble" in selection else ""
    return f"contenders: baselines may win too{ensemble}; promote_to: the winner's name in the model registry"


def _axis_reason(axis: str, task: str) -> str:
    if axis == "scaling" and task == "forecast":
        return "last: windows as changes from their last value, in units of their spread"
    reasons = {
        "layer": "the kind of recurrent layer",
        "units": "the size of a layer",
        "detector": "or both, encoding",
        "scaling": "centred: a new level is no anomaly, a change of level is",
    }
    return reasons.get(axis, "")
