"""AutoETS of statsforecast with intervals, series by series on every core; the median is its mean.

VENV/bin/python benchmarks/peers/auto_ets.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import panel
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, SeasonalNaive

FREQUENCIES = {"M": "MS", "W": "W-SUN", "h": "h"}


def main(folder: Path) -> None:
    data = panel.read(folder)
    observed = np.isfinite(data.values)
    rows, steps = np.nonzero(observed)
    table = pd.DataFrame({"unique_id": rows, "ds": data.times[steps], "y": data.values[observed]})
    forecaster = StatsForecast(
        models=[AutoETS(season_length=data.period, alias="ets")],
        freq=FREQUENCIES[data.frequency],
        n_jobs=-1,
        fallback_model=SeasonalNaive(data.period, alias="ets"),
    )
    # The quantile 0.3 is the lower end of the interval of 40 %.
    ends = {level: ("lo" if level < 0.5 else "hi", round(abs(2 * level - 1) * 100)) for level in panel.LEVELS}
    columns = ["ets" if level == 0.5 else "ets-{}-{}".format(*ends[level]) for level in panel.LEVELS]
    forecasts = forecaster.forecast(
        df=table, h=data.horizon, level=sorted({width for _, width in ends.values() if width})
    )
    forecasts = forecasts.sort_values(["unique_id", "ds"])
    panel.write(folder, forecasts[columns].to_numpy().reshape(len(data.series), data.horizon, len(columns)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
