"""The tasks of the forecasting benchmark: a set, its experiment, and the panel that its contenders get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sets
import yaml
from peers import panel

EXPERIMENTS = Path(__file__).parent.absolute() / "grids" / "forecasting"


@dataclass(frozen=True)
class ForecastTask:
    """One set: the experiment's content, the whole table, and the test (series, horizon) cut from it."""

    name: str
    experiment: dict[str, Any]
    table: pd.DataFrame
    panel: panel.Panel
    actual: np.ndarray


def read(name: str, data: Path) -> ForecastTask:
    """Return the set `name` with its experiment. Raises FileNotFoundError."""
    experiment = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    horizon, section = experiment["window"]["horizon"], experiment["data"]
    table = sets.SETS[name](data, horizon)
    zone = section.get("time_zone")
    stamped = table.assign(time=pd.to_datetime(table["time"], utc=zone is not None))
    known, past = (list(section.get(kind, ())) for kind in ("future", "past"))
    wide = {column: stamped.pivot_table(column, "series", "time") for column in ("value", *known, *past)}
    times = wide["value"].columns
    if zone is not None:
        times = times.tz_convert(zone).tz_localize(None)
    given = panel.Panel(
        series=wide["value"].index.to_numpy(str),
        times=times.to_numpy(),
        values=wide["value"].to_numpy()[:, :-horizon],
        known=_stacked([wide[column] for column in known], wide["value"].shape),
        past=_stacked([wide[column].iloc[:, :-horizon] for column in past], wide["value"].iloc[:, :-horizon].shape),
        known_names=known,
        frequency=section["frequency"],
        period=section.get("period", 1),
        horizon=horizon,
        seed=0,
        network={},
        options={},
    )
    return ForecastTask(name, experiment, table, given, wide["value"].to_numpy()[:, -horizon:])


def network_settings(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `experiment` that its networks have in common, as `Panel.network` has them."""
    baseline, training = experiment["baseline"], experiment["training"]
    return {
        "lookback": experiment["window"]["lookback"],
        **{name: baseline[name] for name in ("layers", "units", "dropout", "learning_rate", "batch_size")},
        **{name: training[name] for name in ("epochs", "steps")},
        "paths": experiment["probabilistic"]["paths"],
    }


def _stacked(tables: list[pd.DataFrame], shape: tuple[int, ...]) -> np.ndarray:
    """The tables (n, steps) as one array (n, steps, tables)."""
    return np.stack([table.to_numpy() for table in tables], axis=2) if tables else np.empty((*shape, 0))
