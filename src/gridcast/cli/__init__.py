"""The command line, one module per group of verbs.

Each verb imports its packages when it is called: MLflow and pandas take seconds to load.
"""

# In the order in which the help lists their verbs.
from gridcast.cli import new_experiment, sweeps, predict, serving, anomalies, simulate, check  # isort: skip
from gridcast.cli.app import app
from gridcast.cli.main import main

__all__ = ["anomalies", "app", "check", "main", "new_experiment", "predict", "serving", "simulate", "sweeps"]
