"""Sentences on how the winner was selected: with which seeds, and after how many looks at the test span."""

from __future__ import annotations

import pandas as pd

from gridcast.evaluation.paired_comparison import DETECTION_ERROR
from gridcast.reporting.record import SweepRecord
from gridcast.tracking import looks


def confirmation_sentences(record: SweepRecord, configurations: pd.DataFrame) -> list[str]:
    """State that the leading configurations were confirmed with further seeds, and how the winner did over its own.

    `configurations` is the frame of `leaderboard.by_configuration`; nothing where no such run is finished.
    """
    further = record.runs[record.runs["confirmation"]]
    if not len(further):
        return []
    count = further["configuration"].nunique()
    subject = "The leading configuration was" if count == 1 else f"The {count} leading configurations were each"
    wins = "the best mean among them is" if len(record.members) else "the best mean wins:"
    winner = configurations[configurations["configuration"] == record.best["configuration"]].iloc[0]
    return [
        f"{subject} trained with further seeds ({len(further)} runs), and {wins} {winner['mean']:.4g} ± "
        f"{winner['spread']:.2g} (standard deviation) over the {winner['count']} runs of {winner['name']}."
    ]


def look_sentences(record: SweepRecord) -> list[str]:
    """State how often the test span was looked at, and by how much the best of these looks flatters.

    Nothing where this sweep did not test its winner.
    """
    places = [place for place, look in enumerate(record.looks) if look.run_id == record.winner_id]
    if not places:
        return []
    if len(record.looks) == 1:
        return ["By the record of this store, the test span was looked at once: by this sweep, for these figures."]
    error_name = "MASE" if record.detection is None else DETECTION_ERROR
    return [
        f"By the record of this store, the test span was looked at {len(record.looks)} times "
        f"({looks.describe_purposes(record.looks)}); this sweep's look was number {places[0] + 1}. "
        f"{looks.flattery_text(looks.network_errors(record.looks), error_name)}"
    ]
