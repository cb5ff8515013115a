"""The gates before a promotion, the promotion itself, and the card that goes with a version."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gridcast.evaluation import detections
from gridcast.evaluation import forecasts as forecasts_module
from gridcast.models.baselines import NAIVE
from gridcast.models.baselines.detectors import DETECTORS
from gridcast.runtime.errors import ConfigError, GridcastError, PromotionRefused, TrackingError
from gridcast.tracking import registry
from gridcast.tracking import runs as runs_module
from gridcast.tracking.runs import FINGERPRINT, KEY, MODEL, Store

if TYPE_CHECKING:
    from gridcast.config import Experiment
    from gridcast.sweep.plan import Plan


LONGEST = 5000
"""Characters that MLflow keeps of a description or a tag."""
SHOWN = 8
"""Series, and notes on the data, that a model card names."""
LISTED = 40
"""Columns that a model card names."""

Evaluate = Callable[[dict[str, bytes]], Mapping[str, float]]
"""From the files of a forecaster to its measures on the test span of the challenger."""


@dataclass(frozen=True)
class _Case:
    """What the gates judge: `own` are the measures of `run` on the test span, `baselines` those of the others."""

    experiment: Experiment
    store: Store
    run: Any
    own: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    champion: Any
    evaluate: Evaluate

    @property
    def error(self) -> float:
        return _error(self.own)

    @property
    def detects(self) -> bool:
        return self.experiment.task == "anomaly"

    @property
    def measure(self) -> str:
        return "1 - AUC-PR" if self.detects else "MASE"

    @property
    def rivals(self) -> dict[str, float]:
        """Errors of the baselines that a winner has to beat."""
        names = DETECTORS if self.detects else NAIVE
        found = {name: _error(self.baselines[name]) for name in names if name in self.baselines}
        return {name: error for name, error in found.items() if not math.isnan(error)}

    @property
    def untold(self) -> bool:
        """Whether there are no labels, by which alone detectors compare."""
        return self.detects and math.isnan(self.error)


def promote(
    experiment: Experiment,
    store: Store,
    winner: Any,
    tested: Mapping[str, Mapping[str, float]],
    evaluate_champion: Evaluate,
    force: str | None = None,
) -> registry.Promotion:
    """Register the MLflow run `winner` as `selection.promote_to` and make it champion.

    `tested` are the measures on the test span by name, the winner's first, then the baselines';
    `evaluate_champion` gives those of another forecaster on the same test span. The alias
    `previous` goes to the champion that is replaced. A run that is champion already stays so and
    nothing changes; a version that a crash left without alias is used again. `force` is the
    reason for promoting whatever the gates say.

    Raises PromotionRefused with the gate and the figures, the registry as it was; ConfigError
    without `promote_to` or with an empty reason; TrackingError when MLflow fails.
    """
    name = experiment.selection.promote_to
    if name is None:
        raise ConfigError(f"selection.promote_to: is missing; name the registered model, such as {experiment.name}")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    client = store.client
    with registry.asking(store.uri):
        model = registry.registered(client, name)
        champion = registry.aliased(client, model, registry.CHAMPION)
        run = client.get_run(winner.info.run_id)
        if champion is not None and champion.run_id == run.info.run_id:
            previous = registry.aliased(client, model, registry.PREVIOUS)
            beaten = champion.tags.get(registry.BEATEN)
            return registry.Promotion(
                registry.version_number(champion), name, True, beaten, previous and registry.version_number(previous)
            )
        first, *rest = tested
        case = _Case(experiment, store, run, tested[first], {n: tested[n] for n in rest}, champion, evaluate_champion)
        gate, refusal = _refusal(case)
        if refusal and force is None:
            raise PromotionRefused(
                f"'{name}' was not promoted, the gate '{gate}' refused: {refusal}; "
                "--force REASON promotes all the same and keeps the reason"
            )
        model_id = registry.model_id(client, run)
        if model_id is None:
            raise GridcastError(f"run {run.info.run_id} has no model '{MODEL}'; nothing can be registered")
        beaten = _beaten_by(case)
        remarks = [f"Beaten by {beaten} on the test span, see below."] if beaten else []
        untold = "Nothing is labelled in the test span: whether it beats the baselines cannot be told."
        remarks += [untold] if case.untold else []
        if force is not None:
            against = f" The gate '{gate}' had refused: {refusal}." if refusal else ""
            remarks.append(f"Promoted by force: {force}.{against}")
        tags = {KEY: run.data.tags[KEY], FINGERPRINT: run.data.tags[FINGERPRINT]}
        tags |= {forecasts_module.PREFIX + measure: repr(value) for measure, value in case.own.items()}
        tags |= {registry.BEATEN: beaten} if beaten else {}
        tags |= {registry.FORCED: force[:LONGEST]} if force is not None else {}
        card = _card(name, case, tested, remarks)
        note = _changed_by_hand(client, name, run, model, champion)
        version, previous = register(client, name, run, model_id, tags, card, champion)
    return registry.Promotion(version, name, False, beaten, previous, note)


def test_record(store: Store, winner: Any, baseline_keys: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Recorded measures on the test span: the winner's first, then those of each baseline that has some.

    Raises GridcastError when the winner has not met the test span yet.
    """
    key = winner.data.tags[KEY]
    own = runs_module.finished(store, [key], "test")
    if not own:
        raise GridcastError(
            f"the best run, {runs_module.name(winner)}, has not met the test span yet; finish the sweep: gridcast run"
        )
    known = runs_module.finished(store, baseline_keys.values(), "baseline")
    runs = [own[key], *(known[key] for key in baseline_keys.values() if key in known)]
    return {runs_module.name(run): forecasts_module.tested(run) for run in runs}


def on_test_span(forecaster: Any, plan: Plan) -> dict[str, float]:
    """Measures of a forecaster or detector, trained on whatever data, over the test span of `plan`.

    It reads the plan's panel through its own preprocessing. Raises GridcastError when it
    forecasts something else: other series, another target, horizon, frequency or covariates.
    """
    if plan.experiment.task == "anomaly":
        return detections.on_test_span(forecaster, plan.material, plan.panel)
    forecasts = forecasts_module.forecasts(forecaster, plan.material, plan.panel)
    measures = forecasts_module.measures(forecasts_module.table(forecasts, plan.material, plan.panel))
    return {name.removeprefix(forecasts_module.PREFIX): value for name, value in measures.items()}


def _run_is_finished(case: _Case) -> str | None:
    info = case.run.info
    if info.status != "FINISHED" or info.lifecycle_stage != "active":
        state = "deleted" if info.lifecycle_stage != "active" else info.status
        return f"run {info.run_id} is {state}; only a FINISHED run may become champion"
    if registry.model_id(case.store.client, case.run) is None:
        return f"run {info.run_id} has no model '{MODEL}' that is ready"
    return None


def _metrics_are_finite(case: _Case) -> str | None:
    metric = case.experiment.selection.metric
    metrics: dict[str, float | None] = {metric: case.run.data.metrics.get(metric)}
    metrics |= {} if case.detects else {f"{forecasts_module.PREFIX}mase": case.own.get("mase")}
    metrics |= {forecasts_module.PREFIX + name: value for name, value in case.own.items()}
    for name, value in metrics.items():
        if value is None:
            return f"{name} of run {case.run.info.run_id} is missing (a value that is not finite is not recorded)"
        # MLflow's SQL stores keep infinity as the largest float.
        if not abs(value) < sys.float_info.max:
            shown = value if math.isnan(value) else math.copysign(math.inf, value)
            return f"{name} of run {case.run.info.run_id} is {shown}, not a finite number"
    return None


def _naive_are_beaten(case: _Case) -> str | None:
    if case.untold:
        return None
    known = case.rivals
    if not known:
        return (
            "no naive baseline was tested, so nothing shows that the winner is worth its keep; run again: gridcast run"
        )
    if case.experiment.selection.when_beaten == "warn":
        return None
    margin = case.experiment.selection.margin
    lost = {name: error for name, error in known.items() if not case.error <= (1 - margin) * error}
    if not lost:
        return None
    told = ", ".join(f"{name} ({error:.4g})" for name, error in sorted(lost.items(), key=lambda item: item[1]))
    needed = f"at most {(1 - margin) * min(lost.values()):.4g} is needed"
    return (
        f"{case.measure} {case.error:.4g} on the test span does not beat {told}; {needed} (selection.margin {margin:g})"
    )


def _champion_is_beaten(case: _Case) -> str | None:
    if case.champion is None or case.untold:
        return None
    named = f"the champion, version {case.champion.version},"
    measures: Mapping[str, float] | None = _recorded(case)
    if measures is None:
        try:
            measures = case.evaluate(registry.files(f"models:/{case.champion.name}/{case.champion.version}"))
        except Exception as error:  # noqa: BLE001 - whatever an old model has, it is no reason to replace it unseen
            return f"{named} cannot be evaluated on these data: {registry.first_line(error)}"
    theirs = _error(measures)
    if case.error < theirs or math.isnan(theirs):
        return None
    return f"{case.measure} {case.error:.4g} does not beat {named} with {theirs:.4g} on the same test span"


GATES: dict[str, Callable[[_Case], str | None]] = {
    "run is finished": _run_is_finished,
    "metrics are finite": _metrics_are_finite,
    "naive baselines are beaten": _naive_are_beaten,
    "champion is beaten": _champion_is_beaten,
}
"""In their order; each tells why it refuses, or gives None."""


def _refusal(case: _Case) -> tuple[str, str]:
    for name, gate in GATES.items():
        refusal = gate(case)
        if refusal:
            return name, refusal
    return "", ""


def _beaten_by(case: _Case) -> str | None:
    """The best baseline that beats the winner; a naive one does so unless the winner keeps the margin."""
    margin = case.experiment.selection.margin
    limits = {name: _error(m) * (1 - margin if name in case.rivals else 1) for name, m in case.baselines.items()}
    if case.untold:
        return None
    ahead = [name for name, limit in limits.items() if math.isfinite(limit) and not case.error <= limit]
    return min(ahead, key=lambda name: _error(case.baselines[name]), default=None)


def _recorded(case: _Case) -> dict[str, float] | None:
    """What the record says of the champion, if it was tested on the very points that the winner was."""
    store, run, champion = case.store, case.run, case.champion
    from mlflow.exceptions import MlflowException

    try:
        old = store.client.get_run(champion.run_id or "")
        if old.info.experiment_id != store.experiment or old.data.tags.get(FINGERPRINT) != run.data.tags[FINGERPRINT]:
            return None
        keys = run.data.tags[KEY], old.data.tags.get(KEY, "")
        records = runs_module.finished(store, keys, "test")
        if any(key not in records for key in keys):
            return None
        own, theirs = (records[key] for key in keys)
        if theirs.data.tags.get("gridcast.winner") != champion.run_id:
            return None
        kept = detections.SCORES if case.detects else forecasts_module.FORECASTS
        tables = [
            forecasts_module.from_bytes(runs_module.artifact(store, record.info.run_id, kept))
            for record in (own, theirs)
        ]
    except (MlflowException, TrackingError):
        return None
    # One fingerprint can be split in many ways: the same data means the same points and scales, or stamps and labels.
    points = [case.experiment.data.time, detections.LABELLED] if case.detects else forecasts_module.POINTS
    same = tables[0][points].equals(tables[1][points])
    return forecasts_module.tested(theirs) if same else None


def register(
    client: Any, name: str, run: Any, model_id: str, tags: Mapping[str, str], card: str, champion: Any
) -> tuple[str, str | None]:
    """Make the model of `run` champion of `name` in place of the version `champion`; its number and the previous one's.

    In this order a crash leaves the old champion in its place, and a second start completes the work.
    """
    version = _version(client, name, run, model_id, tags, card)
    if champion is not None and registry.version_number(champion) != version:
        client.set_registered_model_alias(name, registry.PREVIOUS, champion.version)
    client.set_registered_model_alias(name, registry.CHAMPION, version)
    previous = registry.aliased(client, registry.registered(client, name), registry.PREVIOUS)
    return version, previous and registry.version_number(previous)


def _version(client: Any, name: str, run: Any, model_id: str, tags: Mapping[str, str], card: str) -> str:
    """Number of the version of `run`: one that is there already, brought up to date, else a new one."""
    from mlflow.exceptions import MlflowException

    if registry.registered(client, name) is None:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else was faster
                raise
    own = [version for version in client.search_model_versions(f"name='{name}'") if version.run_id == run.info.run_id]
    if not own:
        logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
        source = f"models:/{model_id}"
        made = client.create_model_version(
            name, source, run_id=run.info.run_id, tags=dict(tags), description=card, model_id=model_id
        )
        return registry.version_number(made)
    kept = max(own, key=lambda version: int(version.version))
    number = registry.version_number(kept)
    client.update_model_version(name, number, card)
    for tag, value in tags.items():
        client.set_model_version_tag(name, number, tag, value)
    for tag in {registry.BEATEN, registry.FORCED} & (set(kept.tags) - set(tags)):
        client.delete_model_version_tag(name, number, tag)
    return number


def _changed_by_hand(client: Any, name: str, run: Any, model: Any, champion: Any) -> str | None:
    if model is None or champion is not None:
        return None
    others = [v for v in client.search_model_versions(f"name='{name}'") if v.run_id != run.info.run_id]
    if not others and registry.CHAMPION not in model.aliases and registry.PREVIOUS not in model.aliases:
        return None
    return (
        f"'{name}' had no champion to compare with: its version or its alias was deleted by hand "
        f"({registry.versions(client, name)})"
    )


def _card(name: str, case: _Case, tested: Mapping[str, Mapping[str, float]], remarks: list[str]) -> str:
    """What a person should know of a version before using it, as Markdown."""
    run, data, horizon = case.run, case.experiment.data, case.experiment.window.horizon
    about = json.loads(runs_module.artifact(case.store, run.data.tags["mlflow.parentRunId"], "sweep.json"))
    settings = json.loads(run.data.tags[runs_module.CONFIGURATION])
    settings |= {"seed": run.data.tags[runs_module.SEED]} if runs_module.SEED in run.data.tags else {}
    measured = ["best_val_loss", "best_val_mae", "best_val_wql"]
    measured += ["val_faults_missed", "val_false_alarms_per_day", "threshold"]
    validation = {m: run.data.metrics[m] for m in measured if m in run.data.metrics}
    series = ", ".join(f"`{one}`" for one in about["series"][:SHOWN])
    columns = (data.time, *data.series, data.target, *data.past, *data.future)
    told = f"Forecasts `{data.target}`, {horizon} ahead, from the last {settings['lookback']} steps ({data.frequency})."
    shown = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE"}
    beyond = f"Trained for {horizon} ahead; steps beyond are rolled forward, marked so, and were not tested."
    use = f'forecast = model.predict(history, params={{"horizon": {horizon}}})'
    if case.detects:
        columns = (data.time, *about["series"])
        told = f"Tells which steps are anomalous, from windows of {settings['lookback']} steps ({data.frequency})."
        shown = detections.SHOWN
        beyond = "Takes for normal what was usual in training, whatever it was; a threshold is no proof of a fault."
        use = "scores = model.predict(table)"
    card = [
        f"# {name}: {runs_module.name(run)}",
        told,
        *(f"\n**{remark}**" for remark in remarks),
        "## Data",
        f"- source: `{data.source}`, fingerprint `{about['fingerprint'][:12]}`",
        f"- {len(about['series'])} series: {series}{', ...' if len(about['series']) > SHOWN else ''}",
    ]
    for span, (first, last) in about["spans"].items():
        card.append(f"- {span}: {_day(first)} to {_day(last)}, {about['windows'][span]:,} windows")
    card += [f"- {note}" for note in about["notes"][:SHOWN]]
    card += ["## Configuration", ", ".join(f"{setting} {value}" for setting, value in settings.items())]
    card += ["## Metrics", "Validation: " + ", ".join(f"{metric} {value:.5g}" for metric, value in validation.items())]
    card += [f"\n| on the test span | {' | '.join(shown.values())} |", "|---" * (1 + len(shown)) + "|"]
    for one, own in tested.items():
        figures = (f"{own[measure]:.4g}" if measure in own else "-" for measure in shown)
        card.append(f"| {one} | {' | '.join(figures)} |")
    card += [
        "## Limits",
        f"- Knows these series only; made from {', '.join(f'`{one}`' for one in columns[:LISTED])}.",
        f"- {beyond}",
        f"- Fitted on data up to {_day(about['spans']['train'][1])}, chosen on data up to "
        f"{_day(about['spans']['validation'][1])}; it has learnt nothing from later ones.",
        "## Load",
        f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}@{registry.CHAMPION}")',
        f"{use}\n```",
    ]
    return "\n".join(card)[:LONGEST]


def _day(stamp: str) -> str:
    return stamp.removesuffix(" 00:00:00")


def _error(measures: Mapping[str, float]) -> float:
    """What gates compare, the lower the better: MASE, or what the AUC-PR of a detector lacks of 1."""
    return measures["mase"] if "mase" in measures else 1 - measures.get("auc_pr", math.nan)
