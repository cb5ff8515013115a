"""An experiment on its data: everything that can be known before the first epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Configuration, Experiment, Metric, Range, grid, large_grid
from gridcast.config.grid import Run
from gridcast.config.selection_metrics import HIGHER_IS_BETTER, VALIDATION_PREFIX, VARIED_FAULTS
from gridcast.data import build_panel, check_windows, sources
from gridcast.data.dataset import Dataset, build_dataset
from gridcast.data.fit_preprocessing import bounds_change_covariates
from gridcast.data.panel import Panel
from gridcast.evaluation import own_metrics
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines, applicable_detectors, record_key_suffix
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import plugin_check
from gridcast.training import keras_backend

OWN_SETTINGS = "own settings"
"""Name of the baseline that is the network with the settings of the experiment's `baseline` section."""
SAMPLE_SIZE = 32
"""Random runs that stand for those which a search will propose, where its time is estimated."""
SPAN_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Plan:
    """An experiment on its data: everything that can be known before the first epoch.

    `datasets` are those of each fold (one without folds); `runs` are those of the grid by run key;
    `reference_run` is the run with the settings of the `baseline` section. `confirmation_runs` are further seeds of
    the leading configurations by run key, empty until a sweep has found these, see `sweep.confirmation`. Where the
    search proposes runs, `runs` are those that it has proposed so far, see `sweep.proposals`.
    """

    experiment: Experiment
    yaml_text: str
    panel: Panel
    datasets: tuple[Dataset, ...]
    runs: dict[str, Run]
    reference_key: str
    reference_run: Run
    backend: str
    confirmation_runs: Mapping[str, Run] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of one's own that runs are measured by, by name."""
        return self.dataset.metrics

    @property
    def is_higher_better(self) -> bool:
        """Whether a higher value of `selection.metric` is better."""
        metric = self.experiment.selection.metric
        own = self.metrics.get(metric.removeprefix(VALIDATION_PREFIX))
        return own.direction == "higher" if own else metric in HIGHER_IS_BETTER

    @property
    def all_runs(self) -> dict[str, Run]:
        """The runs of the grid and those that confirm its leaders, by run key."""
        return {**self.runs, **self.confirmation_runs}

    @property
    def dataset(self) -> Dataset:
        """The dataset of the last fold, on which the winner is trained; it alone has a test span."""
        return self.datasets[-1]

    @property
    def last_fold(self) -> int:
        """Number of the last fold, 0 without folds."""
        return len(self.datasets) - 1

    @property
    def engine(self) -> str:
        """How runs train: `fused` or `stock`."""
        training = self.experiment.training
        if training.engine != "auto":
            return training.engine
        return "fused" if self.backend == "jax" and not training.callbacks else "stock"

    @property
    def sweep_key(self) -> str:
        """The same for every start of the same work, no matter what was finished before."""
        search = self.experiment.search
        search_text = "" if search.strategy == "grid" else search.model_dump_json(exclude={"confirm"})
        if self.is_proposed:  # the runs are not known before the search ends
            seeds = ",".join(map(str, self.experiment.training.seeds))
            return _digest(f"{self.reference_key}/{seeds}/{_space_text(self.experiment)}/{search_text}")
        return _digest("".join(sorted(self.runs)) + search_text)

    @property
    def is_proposed(self) -> bool:
        """Whether the search itself proposes the runs, from ranges; `runs` are then those proposed so far."""
        return self.experiment.has_ranges and self.experiment.search.strategy != "random"

    @property
    def run_count(self) -> int:
        """The number of runs of the search; where it proposes them, as many as a budget of runs allows."""
        budget = self.experiment.search.budget
        limit = budget.runs if self.is_proposed and budget is not None and budget.runs else 0
        return max(limit, len(self.runs))

    @property
    def size_text(self) -> str:
        """The number of runs in words, such as `24 runs`."""
        budget = self.experiment.search.budget
        if self.is_proposed and budget is not None and not budget.runs:
            return f"as many runs as {budget.minutes:g} minutes allow"
        count = self.run_count
        return f"{'up to ' if self.is_proposed else ''}{count:,} run{'s' if count > 1 else ''}"

    def sample(self) -> Plan:
        """Return the plan itself, or where the search proposes the runs, one with random runs of the space instead."""
        if not self.is_proposed:
            return self
        drawn = large_grid.drawn_from_ranges(self.experiment, min(self.run_count or SAMPLE_SIZE, SAMPLE_SIZE))
        runs = [Run(self.experiment.configuration(**settings), seed) for settings, seed in drawn]
        return replace(self, runs={self.run_key(run): run for run in runs})

    def run_key(self, run: Run) -> str:
        """Return the run key of a run of all series together."""
        return grid.run_key(
            self.experiment,
            run,
            fingerprint=self.fingerprint,
            backend=self.backend,
            has_bounded_covariates=self.has_bounded_covariates,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the panel."""
        return self.panel.fingerprint

    @cached_property
    def has_bounded_covariates(self) -> bool:
        """Whether bounds or pooled scales change what is read of some covariate."""
        return _has_bounded_covariates(self.panel, self.experiment)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The settings that vary in the grid."""
        return grid.axes(self.experiment)

    @property
    def baseline_keys(self) -> dict[str, str]:
        """Key of each baseline's record, by name: it depends on the data and the windows, not on the grid."""
        # Records of former versions have no measures of the validation span, by which contenders are compared.
        contends = "/validation" if self.experiment.selection.contenders == "all" else ""
        if self.experiment.task == "anomaly":
            names = (OWN_SETTINGS, *DETECTOR_BASELINES)
            contends += "/varied" if contends and self.experiment.selection.metric == VARIED_FAULTS else ""
            return {name: _digest(f"{self.reference_key}/{name}{contends}") for name in names}
        plugins = self.experiment.plugins.baselines
        suffixes = {
            name: record_key_suffix(name, period=self.dataset.period, levels=self.dataset.levels) + contends
            for name in (OWN_SETTINGS, *baselines.BASELINES, *plugins)
        }
        suffixes |= {name: f"{suffixes[name]}/{plugin.source.digest}" for name, plugin in plugins.items()}
        return {name: _digest(f"{self.reference_key}/{name}{suffix}") for name, suffix in suffixes.items()}

    @cached_property
    def baseline_names(self) -> list[str]:
        """Names of the baselines to be computed. Raises ConfigError for an unknown name in the experiment file."""
        requested, training = self.experiment.baselines, self.panel.training_target
        if self.experiment.task == "anomaly":
            return applicable_detectors(requested)
        zero_share = float(np.sum(training == 0) / np.isfinite(training).sum())
        return applicable_baselines(
            len(training),
            self.dataset.period,
            zero_share=zero_share,
            requested=requested,
            plugins=requested if self.experiment.plugins.is_lenient else tuple(self.experiment.plugins.baselines),
        )

    def window_counts(self, lookback: int) -> dict[str, int]:
        """Return the number of windows in each span."""
        return {span: len(self.dataset.origins(span, lookback)) for span in SPAN_NAMES}

    def run_name(self, run: Run) -> str:
        """Return a short name that distinguishes `run` from every other run of the grid."""
        own = run.configuration.own
        extra_axes = [axis for axis in ("lookback", "optimizer", "loss", "epochs", *own) if axis in self.axes]
        parts = [f"{run.series}:"] if run.series is not None else []
        parts.append(configuration_name(run.configuration, run.seed))
        parts += [f"{axis} {getattr(run.configuration, axis)}" for axis in extra_axes]
        parts += [f"fold{run.fold}"] if len(self.datasets) > 1 else []
        return " ".join(parts)

    def run_params(self, run: Run) -> dict[str, Any]:
        """Return every setting of `run`: one per grid axis, and the fixed ones."""
        experiment = self.experiment
        params: dict[str, Any] = {} if run.series is None else {"series": run.series}
        params |= {} if experiment.split.folds is None else {"fold": run.fold}
        params |= experiment.anomaly.model_dump(exclude_none=True) if experiment.task == "anomaly" else {}
        return {
            **params,
            **run.configuration.settings(),
            "seed": run.seed,
            "horizon": experiment.window.horizon,
            "stride": experiment.window.stride,
            "scale": experiment.transform.scale,
            "log1p": experiment.transform.log1p,
            "epochs": self.dataset.epochs_of(run.configuration),
            "patience": experiment.training.patience,
            "backend": self.backend,
        }


def make_plan(
    experiment: Experiment,
    yaml_text: str,
    backend: str,
    *,
    cache: Path = Path("data"),
    frame: pd.DataFrame | None = None,
) -> Plan:
    """Read the data, simulate the splits and return the plan; a `frame` is read in place of the source.

    Plug-ins are tried out here, before anything is trained. Raises InputError.
    """
    keras_backend.require_backend(backend)
    own_metrics.check_metrics(experiment.plugins.metric_functions, experiment.window.horizon, _levels(experiment))
    if experiment.training.engine == "fused" and backend != "jax":
        raise ConfigError(f"training.engine: 'fused' needs the jax backend (got {backend}); use auto or stock")
    if experiment.training.engine == "fused" and experiment.training.callbacks:
        raise ConfigError(
            "training.engine: 'fused' trains without Keras's fit, which calls training.callbacks; use auto or stock"
        )
    large_grid.check_size(experiment)
    panel = build_panel.build_panel(sources.load_table(experiment.data, cache, frame), experiment)
    series = ()
    if experiment.mode != "global":
        series = tuple(np.array(panel.series, object)[check_windows.trainable_series(panel, experiment)])
    # Run keys contain the plain names, as in versions that did not escape ids.
    plain_names: dict[str | None, str] = dict(zip(panel.series, panel.plain_series, strict=True))
    about_data: dict[str, Any] = {
        "fingerprint": panel.fingerprint,
        "has_bounded_covariates": _has_bounded_covariates(panel, experiment),
    }
    runs = {
        grid.run_key(experiment, run, **about_data, backend=backend, series_name=plain_names.get(run.series)): run
        for run in grid.expand(experiment, series)
    }
    is_long = experiment.search.budget is None and len(runs) > large_grid.MANY_RUNS
    if is_long or large_grid.is_too_large(experiment):
        panel = replace(panel, notes=(*panel.notes, _size_note(experiment, len(runs))))
    reference_run = Run(experiment.configuration(), experiment.training.seeds[0], len(panel.folds) - 1)
    plan = Plan(
        experiment=experiment,
        yaml_text=yaml_text,
        panel=panel,
        datasets=tuple(build_dataset(panel.fold(number), experiment) for number in range(len(panel.folds))),
        runs=runs,
        reference_key=grid.run_key(experiment, reference_run, **about_data, backend=backend),
        reference_run=reference_run,
        backend=backend,
    )
    plugin_check.check_plugins(
        experiment,
        plan.dataset,
        (*plan.sample().runs.values(), reference_run),
        baselines=plan.baseline_names,
        reserved=(OWN_SETTINGS,),
        backend=backend,
    )
    return plan


def _has_bounded_covariates(panel: Panel, experiment: Experiment) -> bool:
    return any(bounds_change_covariates(panel.fold(number), experiment) for number in range(len(panel.folds)))


def _space_text(experiment: Experiment) -> str:
    """The axes of the grids with their values and ranges, as text."""
    grids = [
        {axis: asdict(values) if isinstance(values, Range) else list(values) for axis, values in grid.items()}
        for grid in experiment.grid
    ]
    return json.dumps(grids, sort_keys=True)


def _levels(experiment: Experiment) -> tuple[float, ...]:
    return experiment.probabilistic.quantiles if experiment.task == "probabilistic" else ()


def _size_note(experiment: Experiment, count: int) -> str:
    """The sentence on a large grid of `count` runs, or on the part of a larger one that is searched."""
    if not large_grid.is_too_large(experiment):
        remedy = "`gridcast plan` estimates how long they take"
        if experiment.mode == "global" and experiment.split.folds is None:
            remedy += ", and search: {strategy: random, budget: {runs: 200}} trains a part of them"
        return f"warning: the grid has {count:,} runs; {remedy}"
    total = large_grid.count_configurations(experiment.grid) * len(set(experiment.training.seeds))
    how = "drawn at random" if experiment.search.strategy == "random" else "with evenly spread values of its long axes"
    return f"warning: the grid has {total:,} runs; {experiment.search.strategy} searches {count:,} of them, {how}"


def configuration_name(configuration: Configuration, seed: int | None = None) -> str:
    """Return a short name such as `GRU-64 b32 lr0.001 d0.1 attention`."""
    c = configuration
    parts = [f"{'Bi' if c.bidirectional else ''}{c.layer}-{c.units}{f'x{c.layers}' if c.layers > 1 else ''}"]
    parts += [f"b{c.batch_size}", f"lr{c.learning_rate:g}", f"d{c.dropout:g}"]
    parts += ["attention"] if c.attention else []
    parts += [f"{c.detector} {c.latent}"] if c.detector else []
    parts += [c.likelihood] if c.likelihood else []
    parts += ["centred"] if c.scaling == "centred" else []
    parts += [f"{c.scaling} scaling"] if c.scaling in ("standard", "mean", "last") else []
    parts += [f"seed{seed}"] if seed else []
    return " ".join(parts)


def epoch_cost(configuration: Configuration, windows: int, max_steps: int | None = None) -> float:
    """Return the relative time of one epoch over `windows` windows, of at most `max_steps` optimizer steps.

    It is the arithmetic of the network, about that of a direct one, plus a fixed cost per step.
    """
    c = configuration
    windows = windows if max_steps is None else min(windows, max_steps * c.batch_size)
    if c.is_direct:
        per_block = c.lookback * 16 + c.units * 2
        weights = c.units * (c.lookback * 16 if c.layer == "linear" else 3 * c.layers * per_block)
        return windows * (weights * 4e-10 + 1e-3 / c.batch_size)
    gates = {"GRU": 3}.get(c.layer, 4) * c.layers * (1 + c.bidirectional)
    gates *= 1 if c.detector in (None, "prediction") else 2  # an autoencoder has a decoder too
    return windows * (c.lookback * gates * c.units * (c.units + 16) * 4e-10 + 1e-3 / c.batch_size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
