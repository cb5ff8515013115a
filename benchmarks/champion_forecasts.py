"""Quantile forecasts of the test span by the winner of a gridcast project's sweep, from its record in MLflow.

    .venv/bin/python benchmarks/champion_forecasts.py FOLDER

Writes them to forecast.npz, with the winner's name as the note. It must run as a separate process, for the reason in
`recorded.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peers import panel

import gridcast


def main(folder: Path) -> None:
    data = panel.read(folder)
    os.chdir(folder)  # the store is there
    name, table = next(iter(gridcast.report("experiment.yaml").record.forecasts.tests.items()))
    quantiles = table.sort_values(["series", "step"])[[f"q{level:g}" for level in panel.LEVELS]]
    shape = len(data.series), data.horizon, len(panel.LEVELS)
    panel.write(folder, quantiles.to_numpy().reshape(shape), name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
