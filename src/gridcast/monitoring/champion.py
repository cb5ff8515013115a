"""A champion in use: its live error, the drift of what it reads, the cover of its intervals, its challengers."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import extend_panel, sources
from gridcast.data.splits import Spans
from gridcast.evaluation import forecasts, metrics
from gridcast.models import baselines
from gridcast.monitoring import drift as drift_module
from gridcast.monitoring import feature_drift, prediction_log, served_forecasts
from gridcast.monitoring.feature_drift import Stretch
from gridcast.runtime.errors import DataError
from gridcast.runtime.input_table import SERIES, TIME, checked
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import Plan
from gridcast.tracking import promotion, runs
from gridcast.tracking.registry import Loaded
from gridcast.tracking.runs import Entry, Store

OWN = "champion"
"""What the model is called beside the baselines."""
KIND = "monitor"
MEASURES = ("mase", "mae", "rmse")
UNNAMED = re.compile(r"[^\w\-./ ]")
"""What MLflow takes in no name of a metric."""


@dataclass(frozen=True)
class Limits:
    """What a champion may do before it needs a look.

    `error`: its live MASE, in units of that on the test span when it was promoted; `psi`: the population
    stability index of a feature, where it is rare among known stretches too; `coverage`: how far the share of
    values within its interval may lie below the promised one (0 to 1). What is told must also be unlikely
    by chance: `alpha` is the largest p value, for drift that of all features together.
    """

    error: float = 1.25
    psi: float = 0.1
    coverage: float = 0.1
    alpha: float = 0.01


@dataclass(frozen=True)
class Model:
    """A model in use, on the data of its sweep, and what was known of it when it was promoted.

    `about` is the record of the sweep; `before` the measures on the test span by name, its own first, and
    `tested` its forecasts there.
    """

    loaded: Loaded
    store: Store
    parent: str
    plan: Plan
    about: Mapping[str, Any]
    before: Mapping[str, Mapping[str, float]]
    tested: pd.DataFrame

    @property
    def name(self) -> str:
        """Of the registered model, else of its experiment."""
        return self.loaded.found.name or self.plan.experiment.name

    @property
    def title(self) -> str:
        """For people."""
        found = self.loaded.found
        return f"{found.name} version {found.version}" if found.name else found.uri

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the forecaster."""
        own: Preprocessing = self.loaded.forecaster.preprocessing
        return own

    @property
    def overlap(self) -> int:
        """How many neighbouring origins share a step to forecast, by which their errors depend on each other."""
        return math.ceil(self.preprocessing.horizon / self.plan.material.stride)


@dataclass(frozen=True)
class Coverage:
    """Shares (0 to 1) of the values within the outermost interval: promised, live, and on the test span.

    `p_value` is that of "as many as promised".
    """

    promised: float
    live: float
    before: float
    p_value: float


@dataclass(frozen=True)
class Findings:
    """Every number of the page, before anything is drawn or written.

    `steps` of `series` are new, from `first` to `last`; `live` are the forecasts of them, as `evaluation.table` has
    them, `losses` their error by time and name, in units of MASE. `errors` has a row for the champion and each
    naive baseline: its live measures and those on the test span (`_before`); `p_value` is that
    of "the champion's has not risen". `drift` is a row for each feature and view, over the
    newest `judged` steps, with `drifted`; `movers` are the series that moved most, `stuck` those that stand
    still; `challengers` were asked on the same traffic. `alarms` say what is past its limit, `told` the rest.
    """

    model: Model
    limits: Limits
    first: pd.Timestamp
    last: pd.Timestamp
    steps: int
    series: int
    live: pd.DataFrame
    losses: pd.DataFrame
    errors: pd.DataFrame
    p_value: float
    coverage: Coverage | None
    drift: pd.DataFrame
    judged: int
    movers: pd.DataFrame
    stuck: pd.DataFrame
    challengers: pd.DataFrame
    notes: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def own(self) -> dict[str, Any]:
        """The champion's row of `errors`."""
        return _records(self.errors)[0]

    @property
    def naive(self) -> list[dict[str, Any]]:
        """The rows of the naive baselines that have a MASE, the best one first."""
        return _records(self.errors.iloc[1:].dropna(subset="mase").sort_values("mase", kind="stable"))

    @property
    def ratio(self) -> float:
        """The champion's live MASE in units of that at promotion."""
        return float(self.own["mase"] / self.own["mase_before"])

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        if not self.alarms:
            return f"{self.model.title} is as it was when it was promoted: nothing is past its limit."
        told = "one of its figures is past its limit" if len(self.alarms) == 1 else f"{len(self.alarms)} alarms"
        return f"{self.model.title} needs a look: {told}."

    @property
    def verdict(self) -> str:
        """The headline, the alarms and the rest, a sentence a line."""
        return "\n".join([self.headline, *self.alarms, *self.told])


def model_of(loaded: Loaded, store: Store, parent: str, about: Mapping[str, Any], plan: Plan) -> Model:
    """What is to be watched. Raises GridcastError when the model never met its test span, TrackingError."""
    run = runs.found(store, loaded.found.run_id or "")
    before = promotion.test_record(store, run, about["baseline_keys"])
    (test,) = runs.finished(store, [run.data.tags[runs.KEY]], "test").values()
    content = runs.artifact(store, test.info.run_id, forecasts.FORECASTS)
    return Model(loaded, store, parent, plan, about, before, forecasts.from_bytes(content))


def find(model: Model, actuals: pd.DataFrame, limits: Limits, served: Path | None = None) -> Findings:
    """Compare what came, the table `actuals`, with what the model learnt and said.

    The model forecasts the new rows itself, each from what lay before; where a file of `served` forecasts is
    given, these are judged instead, and its challengers beside it. New is what lies after the spans that
    the model was trained and chosen on. Raises DataError for a table that cannot be compared.
    """
    own, plan = model.preprocessing, model.plan
    actuals, notes = _of_its_series(actuals, own, plan)
    if plan.fingerprint != model.about["fingerprint"]:
        notes += ("the data of the experiment have changed since the sweep: its spans are read as they are now",)
    unknown = [name for name in plan.panel.series if name not in own.series]
    if unknown:
        raise DataError(
            f"the data of the experiment now give the series '{unknown[0]}', which the model does not know; give "
            "them as they were with --data, or name the model's series in data.select.only of an --experiment file"
        )
    data = _continued(model, checked(actuals, own)[0])
    tables, challengers = _live(model, data), pd.DataFrame()
    if served is not None:
        tables[OWN], challengers = _served(model, data, served)
        points = tables[OWN][served_forecasts.POINT]
        tables = {name: table.merge(points, on=served_forecasts.POINT) for name, table in tables.items()}
    errors, losses = (
        _errors(tables, model.before),
        {name: served_forecasts.losses(table) for name, table in tables.items()},
    )
    shifts = feature_drift.shifts(data, own)
    drifted = (shifts["p_value"] <= limits.alpha) & (shifts["psi"] >= limits.psi)
    if not data.judged:
        notes += ("the training and validation spans are too short to tell drift by",)
    found = Findings(
        model=model,
        limits=limits,
        first=data.panel.times[data.begin],
        last=data.panel.times[-1],
        steps=data.steps,
        series=int(data.present.sum()),
        live=tables[OWN],
        losses=pd.DataFrame(losses),
        errors=errors,
        p_value=drift_module.risen(
            losses[OWN].to_numpy(), served_forecasts.losses(model.tested).to_numpy(), model.overlap
        ),
        coverage=_coverage(tables[OWN], model),
        drift=shifts.assign(drifted=drifted),
        judged=data.judged,
        movers=feature_drift.movers(data, own, set(shifts.loc[drifted, "feature"])),
        stuck=feature_drift.stuck(data, own),
        challengers=challengers,
        notes=notes,
    )
    alarms, told = _judged(found)
    return replace(found, alarms=alarms, told=told)


def record(findings: Findings, artifacts: Mapping[str, bytes]) -> str:
    """Write the figures and `artifacts`, such as the page, to MLflow, as a child of the sweep.

    Returns the id of the run. Raises TrackingError.
    """
    model, champion = findings.model, findings.own
    figures = {f"live_{measure}": champion[measure] for measure in MEASURES}
    figures |= {f"{measure}_at_promotion": champion[f"{measure}_before"] for measure in MEASURES}
    figures |= {"error_ratio": findings.ratio, "alarms": len(findings.alarms), "steps": findings.steps}
    for row in findings.naive:
        figures[f"live_mase_{row['name']}"] = row["mase"]
    for row in _records(findings.drift):
        figures |= {f"{kind}_{row['view']}_{row['feature']}": row[kind] for kind in ("psi", "ks")}
    if findings.coverage:
        figures |= {"promised_coverage": findings.coverage.promised, "live_coverage": findings.coverage.live}
    finite = {UNNAMED.sub("_", name): float(value) for name, value in figures.items() if np.isfinite(value)}
    found = model.loaded.found
    tags = {runs.WINNER: found.run_id or "", runs.VERDICT: findings.verdict[: promotion.LONGEST]}
    tags |= {"gridcast.model": found.name, "gridcast.model_version": found.version or ""} if found.name else {}
    # Each look is an event of its own, however alike two are.
    entry = Entry(f"monitor of {model.title}", KIND, uuid.uuid4().hex, tags, metrics=finite, artifacts=artifacts)
    return runs.record(model.store, model.parent, entry)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _of_its_series(table: pd.DataFrame, own: Preprocessing, plan: Plan) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table without the series that its experiment knows and leaves out; those unknown to both stay."""
    ids = served_forecasts.names(table, own)
    if ids.isin(own.series).all():
        return table, ()
    data = plan.experiment.data
    select = data.select.model_copy(update={"only": None})
    known = sources.load(data.model_copy(update={"select": select})).rows[sources.SERIES].cat.categories
    left_out = ids.isin(known.difference(list(own.series)))
    if left_out.all():
        raise DataError("no row is of a series that the model forecasts; its experiment leaves out all of these")
    told = f"{ids[left_out].nunique():,} series that the experiment leaves out are left out here too"
    return table[~left_out], (told,) if left_out.any() else ()


def _continued(model: Model, rows: pd.DataFrame) -> Stretch:
    spans = model.about["spans"]
    after = pd.Timestamp(spans["validation"][1])
    panel, begin = extend_panel.onward(model.plan.panel, rows, model.preprocessing, after, SERIES, TIME)
    start = int(panel.times.searchsorted(pd.Timestamp(spans["train"][0])))
    train = int(panel.times.searchsorted(pd.Timestamp(spans["train"][1]), "right"))
    panel = replace(panel, spans=Spans(train, begin, len(panel.times), start))
    return Stretch(panel, begin, int(panel.times.searchsorted(after, "right")))


def _live(model: Model, data: Stretch) -> dict[str, pd.DataFrame]:
    """Forecasts of the new rows, as `evaluation.table` has them: the model's, and those of the naive baselines."""
    own, panel = model.preprocessing, data.panel
    codes = np.array([own.series.index(name) for name in panel.series])
    material = replace(
        model.plan.material,
        channels=own.channels(panel.target, panel.columns, panel.times, codes),
        target=panel.target,
        observed=panel.observed,
        times=panel.times,
        spans=panel.spans,
    )
    found = forecasts.forecasts(model.loaded.forecaster, material, panel)
    if not len(found.index):
        raise DataError(
            f"none of the {data.steps} new steps can be forecast: a forecast reads {own.lookback} steps in a row and "
            f"is judged by the {own.horizon} after them; give more rows, from where the known data end"
        )
    task = replace(material.baseline(model.plan.experiment.window.lookback), index=found.index, levels=())
    names = [name for name in baselines.possible(len(panel.series), material.period) if name in baselines.NAIVE]
    naive = {name: forecasts.baseline(name, task) for name in names}
    return {name: forecasts.table(said, material, panel) for name, said in {OWN: found, **naive}.items()}


def _served(model: Model, data: Stretch, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The kept forecasts of the model beside what came, and its challengers on the same requests."""
    found, own = model.loaded.found, model.preprocessing
    told, _ = prediction_log.read(path, found.name)
    versions = ", ".join(told[prediction_log.VERSION].unique())
    told = told[told[prediction_log.VERSION] == found.version] if found.version else told
    if not len(told):
        raise DataError(f"{path}: keeps nothing of {model.title} (but of version {versions or 'none'})")
    champion = served_forecasts.met(told, own, data)
    if not len(champion):
        raise DataError(f"{path}: none of the {len(told):,} kept forecasts of {model.title} is of a time in the table")
    shadow, _ = prediction_log.read(path, role=prediction_log.SHADOW)
    shadow = shadow[shadow[prediction_log.REQUEST].isin(told[prediction_log.REQUEST])]
    return champion, served_forecasts.challengers(champion, shadow, own, data, model.overlap)


def _errors(tables: Mapping[str, pd.DataFrame], before: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    rows, first = [], next(iter(before))
    for name, table in tables.items():
        now, then = forecasts.measures(table), before.get(first if name == OWN else name, {})
        live = {measure: now.get(f"{forecasts.PREFIX}{measure}", math.nan) for measure in MEASURES}
        rows.append({"name": name, **live, **{f"{m}_before": then.get(m, math.nan) for m in MEASURES}})
    return pd.DataFrame(rows)


def _coverage(live: pd.DataFrame, model: Model) -> Coverage | None:
    levels = forecasts.levels(live)
    # Who asks may want other quantiles than the model was tested with.
    pair = metrics.outermost([level for level in levels if f"q{level:g}" in model.tested] or levels)
    if pair is None:
        return None
    promised, (low, high) = pair[1] - pair[0], (f"q{level:g}" for level in pair)

    def outside(table: pd.DataFrame) -> pd.Series:
        table = table.reindex(columns=["actual", low, high]).dropna()
        return ((table["actual"] < table[low]) | (table["actual"] > table[high])).astype(float)

    now, before = outside(live), outside(model.tested)
    missed = now.groupby(live["time"]).mean().to_numpy()
    p_value = drift_module.risen(missed, np.full(len(missed), 1 - promised), model.overlap)
    return Coverage(promised, 1 - float(now.mean()), 1 - float(before.mean()), p_value)


def _judged(found: Findings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is past its limit, and what else there is to tell, in sentences."""
    alarms: list[str] = []
    told: list[str] = []
    for past, sentence in (_error(found), *_cover(found)):
        (alarms if past else told).append(sentence)
    if found.naive:
        best = found.naive[0]
        against = "beats it" if best["mase"] <= found.own["mase"] else "does not beat it"
        told.append(
            f"The best naive forecast of the same rows, {best['name']}, {against}: MASE "
            f"{best['mase']:.4g} ({best['mase_before']:.4g} on the test span)."
        )
    drifted = found.drift[found.drift["drifted"]]
    for row in _records(drifted):
        what = "values of" if row["view"] == "value" else "changes from step to step of"
        way = "higher" if row["rank"] > 0.55 else "lower" if row["rank"] < 0.45 else "otherwise spread"
        alarms.append(
            f"The {what} {row['feature']} are {way} than in training: PSI {row['psi']:.2f}, where 19 of 20 known "
            f"stretches of {found.judged} steps stay below {row['usual_psi']:.2f} (limit {found.limits.psi:g}; "
            f"p {row['p_value']:.1g} over all features)."
        )
    if found.judged and not len(drifted):
        named = ", ".join(found.drift["feature"].unique())
        told.append(f"No drift past its limit: {named}. Known stretches of {found.judged} steps differ as much.")
    for feature, part in found.stuck.groupby("feature", sort=False):
        worst = _records(part.nlargest(1, "steps"))[0]
        others = f" and {len(part) - 1} more" if len(part) > 1 else ""
        alarms.append(
            f"{feature} stands still: that of {worst['series']}{others} has been {worst['value']:g} for the last "
            f"{worst['steps']} steps (limit {worst['usual']}, twice its longest pause in training)."
        )
    for row in _records(found.challengers):
        sure = f"p {row['p_value']:.2g}" if math.isfinite(row["p_value"]) else "too few times to test"
        told.append(
            f"The challenger {row['name']} is {abs(row['percent']):.1f} % "
            f"{'better' if row['percent'] < 0 else 'worse'} on {row['forecasts']:,} forecasts of the same requests "
            f"(MASE {row['mase']:.4g} against {row['champion']:.4g}, {sure})."
        )
    return tuple(alarms), tuple(told)


def _error(found: Findings) -> tuple[bool, str]:
    own, limit = found.own, found.limits.error
    risen = found.ratio > limit
    likely = f"; p {found.p_value:.1g}" if risen and math.isfinite(found.p_value) else ""
    past = risen and found.p_value <= found.limits.alpha
    chance = "; so few steps may differ so much by chance" if risen and not past else ""
    return past, (
        f"Its MASE on {found.steps:,} new steps, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}, is "
        f"{own['mase']:.4g}, {found.ratio:.2f} times the {own['mase_before']:.4g} on the test span when it was "
        f"promoted (limit {limit:g}{likely}{chance})."
    )


def _cover(found: Findings) -> list[tuple[bool, str]]:
    if found.coverage is None:
        return []
    own, limit = found.coverage, found.coverage.promised - found.limits.coverage
    before = f", {100 * own.before:.1f} % of the test span" if math.isfinite(own.before) else ""
    past = own.live < limit and own.p_value <= found.limits.alpha
    return [
        (
            past,
            f"Its {100 * own.promised:.4g} % interval holds {100 * own.live:.1f} % of the new values{before} "
            f"(limit {100 * limit:.4g} %).",
        )
    ]
