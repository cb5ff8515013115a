"""From an unknown table to the draft of an experiment: every key, its reason, and what else it might be."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from gridcast.config import Experiment, Name
from gridcast.config.error_messages import explain
from gridcast.data import file_bytes, series_statistics
from gridcast.data.build_panel import build_panel
from gridcast.data.first_look import names, sizes
from gridcast.data.first_look.columns import ColumnFacts, find_facts
from gridcast.data.first_look.level import wandering
from gridcast.data.first_look.open_table import OpenedTable, open_table
from gridcast.data.first_look.period_columns import period_columns
from gridcast.data.first_look.roles import Roles, assign_roles
from gridcast.data.first_look.settle import Question, Settled, experiment_of, gap_policy, settle, with_data
from gridcast.data.first_look.sizes import Sizes
from gridcast.data.first_look.wishes import Wishes
from gridcast.data.panel import Panel
from gridcast.data.place_rows import place_rows
from gridcast.runtime.calendar_features import is_column
from gridcast.runtime.errors import ConfigError, InputError
from gridcast.runtime.frequencies import is_day_or_longer, months_per_step, parts

PLAIN_NAMES = ("data", "dataset", "table", "train", "training", "export", "input", "file", "sheet", "values")
"""Names of files that say nothing: their folder gives the experiment its name."""
SPARSE = 0.5
"""Share of steps with a reading below which a sensor is left out: a window needs every sensor."""
DAYS_OF_A_YEAR = 365
GREEDY_ENSEMBLE = {"top": 4, "combine": "greedy"}
"""The ensemble of a first experiment: of all networks of its grid, and the baselines."""


@dataclass(frozen=True)
class Option:
    """A key of `data` that might be added, as it is written, and when."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Draft:
    """The `content` of an experiment file, with the reason of each key by its dotted path.

    `options` are keys of data to choose from, `doubts` choices that a person should look at, and `question` one that a
    person must answer.
    """

    content: Mapping[str, Any]
    reasons: Mapping[str, str]
    options: tuple[Option, ...] = ()
    doubts: tuple[str, ...] = ()
    question: Question | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def from_folder(self, folder: Path) -> Draft:
        """Return the draft for a file in `folder`, with the path of its table as it is from there."""
        source = str(self.content["data"]["source"])
        if file_bytes.scheme_of(source) or Path(source).is_absolute() or folder.resolve() == Path.cwd():
            return self
        data = {**self.content["data"], "source": os.path.relpath(source, folder)}
        return replace(self, content={**self.content, "data": data})


def draft_experiment(source: str, wishes: Wishes) -> Draft:
    """Return the draft of an experiment on the table that `source` names. Raises ConfigError and DataError."""
    table = open_table(source, wishes.query)
    periods = period_columns(table, wishes)
    facts = find_facts(table, periods)
    roles = assign_roles(table, facts, wishes, periods)
    name = _checked_name(wishes.name or _name_of(source))
    data = {"source": table.source, **table.settings, **roles.data}
    words = ""
    if roles.missing:
        data["missing"] = list(roles.missing)
        words = f"{', '.join(map(repr, roles.missing))}: taken for no reading where a number is expected (data.missing)"
    if wishes.frequency is not None:
        data["frequency"] = wishes.frequency
    content = {"version": 1, "name": name, "task": roles.task, "data": data}
    reasons = {**table.reasons, **roles.reasons, "missing": "words in place of a number", "frequency": "as stated"}
    settled = settle(content, reasons, roles.repeated)
    if roles.task == "anomaly":
        settled = _without_sparse_sensors(settled)
    draft = _sized(settled, wishes.horizon)
    doubts = tuple(
        filter(None, (*table.notes, *roles.doubts, words, _unread_texts(table, facts, roles), *settled.doubts))
    )
    return Draft(
        draft.content,
        {**draft.reasons, "name": "the name of the MLflow experiment too"},
        _options(table, facts, roles),
        doubts,
        settled.question,
        draft.facts,
    )


def _checked_name(name: str) -> str:
    try:
        return str(TypeAdapter(Name).validate_python(name))
    except ValidationError as error:
        raise ConfigError(f"--name: {explain(error.errors()[0], Experiment)}") from None


def _name_of(source: str) -> str:
    """The name of an experiment on a table: that of its file, or else of its folder."""
    path = Path(source.partition("?")[0].rstrip("/"))
    candidates = [path.name.partition(".")[0], path.parent.name, path.parent.parent.name]
    plain = [_slug(candidate) for candidate in candidates if "*" not in candidate]
    return next((name for name in plain if name and name.lower() not in PLAIN_NAMES), "") or plain[0] or "experiment"


def _slug(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", ascii_text).strip("-_.")[:100]


def _without_sparse_sensors(settled: Settled) -> Settled:
    """The sensors that have readings at most steps, if some have not."""
    panel = place_rows(settled.table, settled.experiment)
    shares = np.isfinite(panel.target).mean(axis=1)
    is_sparse = shares < SPARSE * shares.max()
    if not is_sparse.any():
        return settled
    kept = [name for name, sparse in zip(panel.series, is_sparse, strict=True) if not sparse]
    left = ", ".join(name for name, sparse in zip(panel.series, is_sparse, strict=True) if sparse)
    why = f"left out, as it has few readings: {left}"
    return settled.with_data({"sensors": kept}, {"sensors": why}, f"data.sensors: {why}")


def _sized(settled: Settled, horizon: int | None) -> Draft:
    """The draft with gaps, window, split and effort with which its panel can be built. Raises DataError without any.

    `horizon` is the stated one.
    """
    panel = place_rows(settled.table, settled.experiment)
    is_anomaly = settled.content["task"] == "anomaly"
    frequency = panel.steps.frequency
    policy, why_gaps = (
        ("keep", "") if is_anomaly else gap_policy(panel, has_missing="missing" in settled.content["data"])
    )
    reasons = dict(settled.reasons) | {"gaps": why_gaps}
    data: dict[str, Any] = {} if is_anomaly else {"gaps": policy}
    if not is_anomaly:
        data["future"] = _calendar(frequency, panel) or None
        reasons["future"] = "known ahead: calendar features of the stamps"
    if len(panel.series) > sizes.MANY_SERIES and not is_anomaly:
        data["select"] = {"top": sizes.KEPT_SERIES}
        reasons["select"] = f"the largest of {len(panel.series):,} series; remove it to train on all of them"
    usual = sizes.usual_window(frequency, len(panel.steps.weekdays) or 7)
    if horizon is not None and is_anomaly:
        raise ConfigError("--horizon: a detector scores each step and forecasts none; leave it out, or state --task")
    if horizon is not None:
        usual = max(usual[0], horizon), horizon, "horizon as stated"
    if is_anomaly:
        tried = sizes.anomaly_sizes_to_try(len(panel.times))
        reasons["window"] = "steps that a detector reads at once"
    else:
        tried = sizes.sizes_to_try(len(panel.times), usual[:2], stated_for=len(panel.series) if horizon else 0)
        reasons["window"] = usual[2]
    content, fitted, built = _first_that_fits(with_data(settled.content, data), settled, tried)
    if "short" in content["data"]:
        reasons["short"] = f"left out: {', '.join(built.too_short[:5])}{' ...' if len(built.too_short) > 5 else ''}"
    if is_anomaly and "calendar" in content["data"]:
        reasons["calendar"] = "stamps are uneven, or have large holes: each one counts as a step"
    if not is_anomaly and (fitted.lookback, fitted.horizon) != usual[:2]:
        reasons["window"] = "as much as the table has room for"
    content = _with_effort(content, fitted, built)
    if content["task"] == "forecast" and fitted.lookback > 1:
        content = _with_scaling(content, reasons, built, fitted)
    return Draft(content, reasons, facts=_facts_of(built, settled))


def _with_scaling(content: dict[str, Any], reasons: dict[str, str], panel: Panel, fitted: Sizes) -> dict[str, Any]:
    """The content with windows read as changes where the level wanders; elsewhere an axis decides that."""
    times = wandering(panel, fitted.lookback, fitted.horizon)
    if not times:
        return content | {"grid": {"layer": content["grid"]["layer"], "scaling": ["none", "last"]}}
    reasons["baseline"] = (
        "last: forecasts are changes from a window's last value, as the level wanders (the validation span is "
        f"{times:.0f} times nearer to the means of its windows than to that of training)"
    )
    return content | {"baseline": content["baseline"] | {"scaling": "last"}}


def _first_that_fits(
    content: Mapping[str, Any], settled: Settled, tried: Iterable[Sizes]
) -> tuple[dict[str, Any], Sizes, Panel]:
    """The content with the first sizes with which the panel can be built, all series in it, or else most of them."""
    refusal: InputError | None = None
    for one, choice in _combinations(tried, content):
        sized = with_data(content, choice) | {"window": _window(one, content), "split": one.split}
        try:
            panel = build_panel(settled.table, experiment_of(sized))
        except InputError as error:
            refusal = refusal or error
            continue
        if not choice or len(panel.series) > len(panel.too_short):
            return sized, one, panel
    if refusal is None:
        raise ConfigError(
            f"--horizon: the table has {len(place_rows(settled.table, settled.experiment).times):,} steps, too few to "
            "forecast so many of them and to validate and test that; state a third of them at most"
        )
    raise refusal


def _combinations(tried: Iterable[Sizes], content: Mapping[str, Any]) -> Iterator[tuple[Sizes, dict[str, Any]]]:
    """Sizes with further keys of data: of sensors with large holes, only the steps that are there."""
    if content["task"] == "anomaly":
        smaller = list(tried)
        yield from ((one, {}) for one in smaller)
        yield from ((one, {"calendar": "observed"}) for one in smaller)
        return
    for one in tried:
        yield one, {}
        yield one, {"short": "drop"}


def _window(one: Sizes, content: Mapping[str, Any]) -> dict[str, int]:
    return {"lookback": one.lookback} | ({} if content["task"] == "anomaly" else {"horizon": one.horizon})


def _with_effort(content: dict[str, Any], fitted: Sizes, panel: Panel) -> dict[str, Any]:
    """The content with stride, networks and training that take minutes."""
    series, steps = (1 if content["task"] == "anomaly" else len(panel.series)), panel.spans.train
    is_anomaly = content["task"] == "anomaly"  # whose every step gets a score
    stride = 1 if is_anomaly else sizes.stride(series, len(panel.times), fitted.split["validation"])
    window = content["window"] | ({"stride": stride} if stride > 1 else {})
    windows = max(1, series * steps // stride)
    batch = 32 if windows < 20_000 else 128
    units = 16 if windows < 500 else 32
    baseline = {"layer": "GRU", "units": units, "dropout": 0.1, "learning_rate": 0.003, "batch_size": batch}
    if is_anomaly:
        baseline |= {"latent": 4, "dropout": 0.0}
        grid: dict[str, Any] = {"detector": ["reconstruction", "prediction"], "scaling": ["none", "centred"]}
        selection: dict[str, Any] = {"metric": "val_online_varied_faults_missed"}
    elif content["task"] == "probabilistic":
        grid = {"layer": ["GRU", "LSTM"], "units": [units, 2 * units]}
        selection = {"metric": "best_val_wql", "ensemble": GREEDY_ENSEMBLE}
    else:
        grid = {"layer": ["GRU", "LSTM"], "units": [units, 2 * units]}
        selection = {"metric": "best_val_mae", "ensemble": GREEDY_ENSEMBLE}
    refit = {} if is_anomaly else {"refit": True}
    content = content | {"window": window, "baseline": baseline, "grid": grid}
    if is_anomaly:
        content["anomaly"] = {"false_alarms": "1 per week"}
    return content | {
        "training": sizes.training(windows, batch) | refit,
        "selection": {"contenders": "all"} | selection | {"promote_to": content["name"], "when_beaten": "warn"},
    }


def _calendar(frequency: str, panel: Panel) -> list[str]:
    """Features of the stamps that tell steps of this frequency apart."""
    if not is_day_or_longer(frequency):
        return ["hour", "day_of_week"]
    if months_per_step(frequency):
        return ["month"] if months_per_step(frequency) == 1 else ["quarter"] if months_per_step(frequency) == 3 else []
    if parts(frequency)[1] == "W":
        return ["month"]
    is_long = (panel.times[-1] - panel.times[0]).days >= DAYS_OF_A_YEAR
    return ["day_of_week", "month"] if is_long else ["day_of_week"]


def _options(table: OpenedTable, facts: Mapping[str, ColumnFacts], roles: Roles) -> tuple[Option, ...]:
    """The other columns, each as what it may be."""
    if roles.task == "anomaly":
        return ()
    usable = [name for name in roles.others if is_column(name) and facts[name].distinct > 1 and not facts[name].strays]
    ahead = [name for name in usable if names.is_about(name, names.KNOWN_AHEAD)]
    past = [name for name in usable if name not in ahead]
    options = []
    if past:
        options.append(Option("past", past, "other numbers, known up to the origin of a forecast"))
    if ahead:
        options.append(Option("future", ahead, "other numbers, if they are known ahead: add them to future"))
    blanks = sum(facts[name].blanks for name in usable)
    if blanks:
        options.append(Option("blanks", "ffill", f"{blanks:,} fields of these are empty: the value before, or zero"))
    static = [name for name in roles.texts if _is_static(table, name, roles)]
    if static:
        options.append(Option("static", static, "categories, the same in all rows of a series"))
    return tuple(options)


def _unread_texts(table: OpenedTable, facts: Mapping[str, ColumnFacts], roles: Roles) -> str:
    """A remark on the columns of text that change within a series, which no network reads."""
    unread = [name for name in roles.texts if facts[name].distinct > 1 and not _is_static(table, name, roles)]
    if roles.task == "anomaly" or not unread:
        return ""
    listed = ", ".join(map(repr, unread))
    return f"{listed}: text, not used; where it should be a covariate, write numbers for its words, such as 1 and 0"


def _is_static(table: OpenedTable, name: str, roles: Roles) -> bool:
    series = roles.data.get("series")
    if not series or ("wide" in roles.data and series[0] not in table.raw.rows):
        return False
    values = table.raw.rows[name]
    groups = [table.raw.rows[column] for column in series]
    return bool(values.notna().all()) and int(values.groupby(groups, observed=True).nunique().max()) == 1


def _facts_of(panel: Panel, settled: Settled) -> dict[str, str]:
    """Remarks to stand beside the keys: how the table was read, its span, its season."""
    season = series_statistics.find_period(panel.training_target, panel.steps.frequency)
    first, last = (f"{stamp}".removesuffix(" 00:00:00") for stamp in (panel.times[0], panel.times[-1]))
    note = settled.table.notes[0].partition(": ")[2] if settled.table.notes else ""
    if len(settled.table.files) > 1:
        note = f"{len(settled.table.files):,} files; the first: {note}"
    return {
        "source": note,
        "span": f"{first} to {last}, {len(panel.times):,} steps",
        "series": f"{len(panel.series):,} series",
        "calendar": panel.steps.calendar,
        "season": str(season or ""),
    }
