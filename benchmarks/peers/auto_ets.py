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
    given = panel.read(folder)
    known = np.isfinite(given.values)
    rows, steps = np.nonzero(known)
    table = pd.DataFrame({"unique_id": rows, "ds": given.times[steps], "y": given.values[known]})
    forecaster = StatsForecast(
        models=[AutoETS(season_length=given.period, alias="ets")],
        freq=FREQUENCIES[given.frequency],
        n_jobs=-1,
        fallback_model=SeasonalNaive(given.period, alias="ets"),
    )
    # The quantile 0.3 is the lower end of the interval of 40 %.
    ends = {level: ("lo" if level < 0.5 else "hi", round(abs(2 * level - 1) * 100)) for level in panel.LEVELS}
    columns = ["ets" if level == 0.5 else "ets-{}-{}".format(*ends[level]) for level in panel.LEVELS]
    told = forecaster.forecast(df=table, h=given.horizon, level=sorted({width for _, width in ends.values() if width}))
    told = told.sort_values(["unique_id", "ds"])
    panel.write(folder, told[columns].to_numpy().reshape(len(given.series), given.horizon, len(columns)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
