"""What reports claim about trained sweeps in which nothing is true: axes that can have no effect, series of noise.

Each sweep trains tiny networks with 3 seeds on one of white noise, an AR(1) process of 0.9 and a random walk, with
learning rates of 0.00499, 0.005 and 0.00501 and dropout of 0.099, 0.1 and 0.101.

    python benchmarks/noise_trained.py 20       # minutes; resumes, and adds to recorded/noise_trained.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

RECORDED = Path(__file__).parent / "recorded" / "noise_trained.json"
PROCESSES = {"white noise": 0.0, "AR(1) 0.9": 0.9, "random walk": 1.0}
STEPS = 240
EXPERIMENT = {
    "version": 1,
    "data": {"source": "noise.csv", "time": "date", "target": "value", "frequency": "D"},
    "window": {"lookback": 7, "horizon": 1},
    "baseline": {"layer": "GRU", "units": 4, "dropout": 0.1, "learning_rate": 0.005, "batch_size": 32},
    "grid": {"learning_rate": [0.00499, 0.005, 0.00501], "dropout": [0.099, 0.1, 0.101]},
    "training": {"epochs": 12, "patience": 4, "seeds": [0, 1, 2]},
}


def noise(number: int) -> tuple[str, np.ndarray]:
    """Return the name of a process and its values (steps,)."""
    name = list(PROCESSES)[number % len(PROCESSES)]
    shocks = np.random.default_rng([11, number]).normal(size=STEPS)
    values = np.zeros(STEPS)
    for step in range(STEPS):
        values[step] = (PROCESSES[name] * values[step - 1] if step else 0.0) + shocks[step]
    return name, 100 + values


def train(number: int) -> dict[str, object]:
    """Train one sweep and return its process, headline and sentences."""
    process, values = noise(number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        dates = pd.date_range("2020-01-01", periods=STEPS).strftime("%Y-%m-%d")
        pd.DataFrame({"date": dates, "value": values}).to_csv(path / "noise.csv", index=False)
        (path / "noise.yaml").write_text(yaml.safe_dump({"name": "noise", **EXPERIMENT}, sort_keys=False))
        command = [sys.executable, "-m", "gridcast", "run", "noise.yaml"]
        subprocess.run(command, cwd=path, check=True, capture_output=True)
        script = (
            "import json; from gridcast.tracking.store import open_store; "
            "from gridcast.reporting.record import read_sweep; "
            "from gridcast.reporting.report_findings import compute_findings; "
            "found = compute_findings(read_sweep(open_store('noise', 'sqlite:///mlflow.db'), 'noise')); "
            "print(json.dumps([found.bottom_line, found.sentences]))"
        )
        output = subprocess.run([sys.executable, "-c", script], cwd=path, check=True, capture_output=True, text=True)
    headline, sentences = json.loads(output.stdout.splitlines()[-1])
    return {"process": process, "headline": headline, "sentences": sentences}


def main() -> None:
    """Train what is not recorded yet, and print how often something is claimed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    sweeps = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else []
    for number in range(len(sweeps), count):
        sweeps.append(train(number))
        RECORDED.write_text(json.dumps(sweeps, indent=1) + "\n", encoding="utf-8")
        print(number + 1, sweeps[-1]["process"], "|", sweeps[-1]["headline"], flush=True)
    named = sum(any(" beat " in sentence for sentence in sweep["sentences"]) for sweep in sweeps)
    print(f"an effect of a setting is named in {named} of {len(sweeps)} sweeps")
    walks = [sweep for sweep in sweeps if sweep["process"] == "random walk"]
    # No forecast of a random walk is better than its last value.
    beaten = sum("beats" in sweep["headline"] for sweep in walks)
    print(f"the last value of a random walk is said to be beaten in {beaten} of {len(walks)}")


if __name__ == "__main__":
    main()
