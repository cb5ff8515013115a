"""A model of statsforecast with its intervals, series by series in one process; the median is its point forecast.

VENV/bin/python benchmarks/peers/statistical.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import long_table
import panel
from statsforecast import StatsForecast, models

ETS_SEASONS = {168: 24}
"""Seasons of AutoETS in place of longer ones: it has none of more than 24 steps, and ignores them."""


def main(folder: Path) -> None:
    data = panel.read(folder)
    season = ETS_SEASONS.get(data.period, data.period) if data.options["model"] == "AutoETS" else data.period
    model = getattr(models, data.options["model"])(season_length=season, alias="model")
    forecaster = StatsForecast(
        models=[model], freq=1, n_jobs=1, fallback_model=models.SeasonalNaive(data.period, alias="model")
    )
    table = long_table.history(data, {}, data.steps)
    forecasts = forecaster.forecast(df=table, h=data.horizon, level=long_table.interval_widths())
    panel.write(folder, long_table.to_quantiles(forecasts, long_table.interval_columns("model"), data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
