"""The value one season before, with normal intervals (Hyndman and Athanasopoulos 2021, section 5.5).

.venv/bin/python benchmarks/peers/seasonal_naive.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import panel


def main(folder: Path) -> None:
    data = panel.read(folder)
    period, ahead = data.period, np.arange(data.horizon)
    error = data.values[:, period:] - data.values[:, :-period]
    spread = np.sqrt(np.nanmean(error**2, axis=1))
    median = data.values[:, -period:][:, ahead % period]
    # Each season further ahead adds the same error once more.
    width = spread[:, None] * np.sqrt(ahead // period + 1)
    scores = np.array([NormalDist().inv_cdf(level) for level in panel.LEVELS])
    panel.write(folder, median[:, :, None] + width[:, :, None] * scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
