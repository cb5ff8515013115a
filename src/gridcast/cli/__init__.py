"""The command line: one verb for each thing a user wants, a file for those that belong together.

What a verb needs is imported when it is called: MLflow and pandas take seconds to load.
"""

# In the order in which the help lists their verbs.
from gridcast.cli import sweeps, use, serving, anomalies, simulate, doctor  # isort: skip
from gridcast.cli.command import app
from gridcast.cli.ending import main

__all__ = ["anomalies", "app", "doctor", "main", "serving", "simulate", "sweeps", "use"]
