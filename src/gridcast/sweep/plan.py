"""An experiment on its data: everything that can be known before the first epoch."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gridcast.config import Configuration, Experiment, grid
from gridcast.config.grid import Run
from gridcast.data import build_panel, sources
from gridcast.data.dataset import Dataset, build_dataset
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines, applicable_detectors, record_key_suffix
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime.errors import ConfigError

OWN_SETTINGS = "own settings"
"""Name of the baseline made of the experiment's own `baseline` settings."""
RECORDED_PACKAGES = (
    "gridcast",
    "keras",
    "jax",
    "tensorflow",
    "mlflow",
    "numpy",
    "pandas",
    "scikit-learn",
    "statsmodels",
)
SPAN_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Plan:
    """An experiment on its data: everything that can be known before the first epoch.

    `datasets` are those of each fold; without folds there is one.
    """

    experiment: Experiment
    yaml_text: str
    panel: Panel
    datasets: tuple[Dataset, ...]
    runs: dict[str, Run]
    reference_key: str
    reference_run: Run
    backend: str

    @property
    def dataset(self) -> Dataset:
        """The dataset of the last fold, on which the winner is trained, and which alone has a test span."""
        return self.datasets[-1]

    @property
    def engine(self) -> str:
        """How runs train: `fused` or `stock`."""
        engine = self.experiment.training.engine
        return ("fused" if self.backend == "jax" else "stock") if engine == "auto" else engine

    @property
    def sweep_key(self) -> str:
        """The same for every start of the same work, whatever was finished before."""
        search = self.experiment.search
        whole = "" if search.strategy == "grid" else search.model_dump_json()
        return _digest("".join(sorted(self.runs)) + whole)

    def window_counts(self, lookback: int) -> dict[str, int]:
        """Number of windows in each span."""
        return {span: len(self.dataset.origins(span, lookback)) for span in SPAN_NAMES}

    def run_name(self, run: Run) -> str:
        """A short name that tells `run` from every other of the grid."""
        untold = [axis for axis in ("lookback", "optimizer", "loss") if axis in self.axes]
        parts = [f"{run.series}:"] if run.series is not None else []
        parts += [
            configuration_name(run.configuration, run.seed),
            *(f"{a} {getattr(run.configuration, a)}" for a in untold),
        ]
        parts += [f"fold{run.fold}"] if len(self.datasets) > 1 else []
        return " ".join(parts)

    @cached_property
    def local_series(self) -> tuple[str, ...]:
        """The series that have runs of their own."""
        return tuple(dict.fromkeys(run.series for run in self.runs.values() if run.series is not None))

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The settings that vary in the grid."""
        return grid.axes(self.experiment)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the panel."""
        return self.panel.fingerprint

    @property
    def baseline_keys(self) -> dict[str, str]:
        """Key of each baseline's record, by name: it follows from data and windows, not from the grid."""
        if self.experiment.task == "anomaly":
            return {name: _digest(f"{self.reference_key}/{name}") for name in (OWN_SETTINGS, *DETECTOR_BASELINES)}
        suffixes = {
            name: record_key_suffix(
                name,
                series=len(self.panel.series),
                steps=self.dataset.spans.train,
                period=self.dataset.period,
                levels=self.dataset.levels,
            )
            for name in (OWN_SETTINGS, *baselines.BASELINES)
        }
        return {name: _digest(f"{self.reference_key}/{name}{suffix}") for name, suffix in suffixes.items()}

    @cached_property
    def baseline_names(self) -> list[str]:
        """Names of the baselines that are done. Raises ConfigError on an unknown name in the experiment file."""
        asked, training = self.experiment.baselines, self.panel.training_target
        if self.experiment.task == "anomaly":
            return applicable_detectors(asked)
        zeros = float(np.sum(training == 0) / np.isfinite(training).sum())
        return applicable_baselines(len(training), self.dataset.period, zero_share=zeros, requested=asked)

    def run_params(self, run: Run) -> dict[str, Any]:
        """Every setting of `run`, one per grid axis and the fixed ones."""
        experiment = self.experiment
        own: dict[str, Any] = {} if run.series is None else {"series": run.series}
        own |= {} if experiment.split.folds is None else {"fold": run.fold}
        own |= experiment.anomaly.model_dump(exclude_none=True) if experiment.task == "anomaly" else {}
        return {
            **own,
            **run.configuration.settings(),
            "seed": run.seed,
            "horizon": experiment.window.horizon,
            "stride": experiment.window.stride,
            "scale": experiment.transform.scale,
            "log1p": experiment.transform.log1p,
            "epochs": experiment.training.epochs,
            "patience": experiment.training.patience,
            "backend": self.backend,
        }

    def sweep_tags(self) -> dict[str, str]:
        """Tags of the sweep's parent run."""
        return {
            "gridcast.fingerprint": self.fingerprint,
            "gridcast.version": version("gridcast"),
            "mlflow.note.content": f"Sweep of {len(self.runs)} runs, its children with gridcast.kind = run.",
        }

    def sweep_files(self) -> dict[str, str]:
        """Text artifacts of the parent run: the YAML as given, and what a report needs to know."""
        panel = self.panel
        folds = [
            {span: [str(panel.times[first]), str(panel.times[end - 1])] for span, (first, end) in bounds.items()}
            for bounds in map(_span_bounds, panel.folds)
        ]
        about: dict[str, Any] = {
            "task": self.experiment.task,
            "mode": self.experiment.mode,
            "run_keys": list(self.runs),
            "axes": list(self.axes),
            "own_key": self.reference_key,
            "baseline_keys": self.baseline_keys,
            "series": list(panel.series),
            "target": self.experiment.data.target,
            "horizon": self.experiment.window.horizon,
            "stride": self.experiment.window.stride,
            "spans": folds[-1],
            "folds": folds if self.experiment.split.folds else [],
            "windows": self.window_counts(self.experiment.window.lookback),
            "period": self.dataset.period,
            "categories": self._categories(),
            "notes": list(panel.notes),
            "fingerprint": self.fingerprint,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}},
            "backend": self.backend,
            "machine": f"{platform.system()} {platform.machine()}",
            "selection": self.experiment.selection.model_dump(),
            "search": self.experiment.search.model_dump(),
        }
        if self.experiment.task == "anomaly":
            about |= {"anomaly": self.experiment.anomaly.model_dump(), "per_day": self.dataset.steps_per_day}
        return {"experiment.yaml": self.yaml_text, "sweep.json": json.dumps(about, indent=1)}

    def _categories(self) -> dict[str, dict[str, str]]:
        """The value of each series, by static column."""
        panel, columns = self.panel, zip(self.experiment.data.static, self.panel.vocabularies, strict=True)
        return {
            column: {name: words[code - 1] for name, code in zip(panel.series, panel.static[:, k], strict=True)}
            for k, (column, words) in enumerate(columns)
        }


def make_plan(experiment: Experiment, text: str, backend: str, cache: Path = Path("data")) -> Plan:
    """Read the data and simulate the splits. Raises InputError."""
    if experiment.training.engine == "fused" and backend != "jax":
        raise ConfigError(f"training.engine: 'fused' needs the jax backend (got {backend}); use auto or stock")
    panel = build_panel.build_panel(sources.load_table(experiment.data, cache), experiment)
    fingerprint = panel.fingerprint
    series = ()
    if experiment.mode != "global":
        series = tuple(np.array(panel.series, object)[build_panel.trainable_series(panel, experiment)])
    runs = {grid.run_key(experiment, run, fingerprint, backend): run for run in grid.expand(experiment, series)}
    own = Run(experiment.configuration(), experiment.training.seeds[0], len(panel.folds) - 1)
    own_key = grid.run_key(experiment, own, fingerprint, backend)
    datasets = tuple(build_dataset(panel.fold(number), experiment) for number in range(len(panel.folds)))
    plan = Plan(experiment, text, panel, datasets, runs, own_key, own, backend)
    plan.baseline_names  # noqa: B018 - names that are unknown shall be told of now
    return plan


def configuration_name(configuration: Configuration, seed: int | None = None) -> str:
    """A short name such as `GRU-64 b32 lr0.001 d0.1 attention`."""
    c = configuration
    parts = [f"{'Bi' if c.bidirectional else ''}{c.layer}-{c.units}{f'x{c.layers}' if c.layers > 1 else ''}"]
    parts += [f"b{c.batch_size}", f"lr{c.learning_rate:g}", f"d{c.dropout:g}"]
    parts += ["attention"] if c.attention else []
    parts += [f"{c.detector} {c.latent}"] if c.detector else []
    parts += [c.likelihood] if c.likelihood else []
    parts += ["centred"] if c.scaling == "centred" else []
    parts += [f"{c.scaling} scaling"] if c.scaling in ("standard", "mean") else []
    parts += [f"seed{seed}"] if seed else []
    return " ".join(parts)


def epoch_cost(configuration: Configuration, windows: int, steps: int | None = None) -> float:
    """Relative time of one epoch: arithmetic of the recurrence plus a fixed share per step of the optimizer.

    An epoch has `steps` at most, where that many are given.
    """
    c = configuration
    windows = windows if steps is None else min(windows, steps * c.batch_size)
    gates = {"GRU": 3, "LSTM": 4}[c.layer] * c.layers * (1 + c.bidirectional)
    gates *= 1 if c.detector in (None, "prediction") else 2
    return windows * (c.lookback * gates * c.units * (c.units + 16) * 4e-10 + 1e-3 / c.batch_size)


def _span_bounds(spans: Spans) -> dict[str, tuple[int, int]]:
    """First step and the step after the last of each span that is not empty."""
    return {name: spans[name] for name in SPAN_NAMES if spans[name][0] < spans[name][1]}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
