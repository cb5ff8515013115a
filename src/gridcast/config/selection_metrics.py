"""Names of the metrics of the validation span that runs can be ranked by."""

from __future__ import annotations

from typing import Literal

SelectionMetric = Literal[
    "best_val_loss",
    "best_val_mae",
    "best_val_wql",
    "val_online_faults_missed",
    "val_online_false_alarms_per_day",
    "val_faults_missed",
    "val_false_alarms_per_day",
]
POINT_METRICS = ("best_val_loss", "best_val_mae")
DETECTION_METRICS = (
    "best_val_loss",
    "val_online_faults_missed",
    "val_online_false_alarms_per_day",
    "val_faults_missed",
    "val_false_alarms_per_day",
)
