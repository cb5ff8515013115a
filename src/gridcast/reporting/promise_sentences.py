"""How the winner's alarms on the validation span relate to the promise of `anomaly.false_alarms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gridcast.config.false_alarms import alarms_per_day
from gridcast.evaluation.promised_threshold import promise_sentence


def promise_sentences(settings: Mapping[str, Any], winner: pd.Series) -> list[str]:
    """Return the sentence on the promise in `settings`, by the metrics of the `winner`; empty where there is none."""
    promise, days = settings.get("false_alarms"), winner.get("val_online_days")
    if promise is None or days is None or not days > 0:
        return []
    return [promise_sentence(promise, alarms_per_day(promise), int(winner["val_online_alarms"]), float(days))]
