"""Sentences on the settings of a grid: what is shown, what is not, and what was only seen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.reporting import words
from gridcast.reporting.setting_contrasts import EFFECT, NO_EFFECT, UNCLEAR, UNTESTED


def setting_sentences(
    contrasts: pd.DataFrame, axes: Sequence[str], metric: str, *, relevant: float, spread: tuple[float, int]
) -> list[str]:
    """State which settings are shown to matter and by how much, strongest first, which are not, and what is unknown.

    `contrasts` is the frame of `setting_contrasts`, `spread` the figures of `seed_spread`.
    """
    if not axes:
        return ["The grid varies no setting, so there is nothing to say about settings."]
    rows: dict[str, list[dict[Hashable, Any]]] = {axis: [] for axis in axes}
    for row in contrasts.to_dict("records"):
        rows[str(row["axis"])].append(row)
    findings = {axis: {row["finding"] for row in rows[axis]} for axis in axes}
    effects = [
        max((row for row in rows[a] if row["finding"] == EFFECT), key=_size) for a in axes if EFFECT in findings[a]
    ]
    sentences = [
        f"{words.capitalized(_higher(row))} by {_difference(row)} in {words.metric_name(metric)} (over {row['seeds']} "
        f"seeds, {row['pairs']} matched pairs)."
        for row in sorted(effects, key=_size, reverse=True)
    ]
    small = [words.axis_name(axis) for axis in axes if findings[axis] == {NO_EFFECT}]
    if small:
        sentences.append(
            f"{words.capitalized(words.join(small))} made no difference of {words.share_text(relevant)} or more."
        )
    unclear = [words.axis_name(axis) for axis in axes if UNCLEAR in findings[axis] and EFFECT not in findings[axis]]
    if unclear:
        sentences.append(f"No effect of {words.join(unclear)} is shown, nor that there is none.")
    tested = int(contrasts["p_value"].notna().sum())
    if tested > 1:
        sentences.append(
            f"These comparisons of settings are corrected for all {tested} pairs of values (Holm), seeds are the "
            f"replicates, and differences below {words.share_text(relevant)} count as none."
        )
    untested = [axis for axis in axes if findings[axis] == {UNTESTED}]
    if untested:
        sentences.append(_description([max(rows[axis], key=_size) for axis in untested], metric, spread))
    unpaired = [words.axis_name(axis) for axis in axes if not rows[axis]]
    if unpaired:
        sentences.append(f"Nothing can be said yet about {words.join(unpaired)}: no two runs differ in it alone.")
    return sentences


def _size(row: Mapping[Hashable, Any]) -> float:
    return float(row["percent"] if np.isfinite(row["percent"]) else row["difference"])


def _higher(row: Mapping[Hashable, Any]) -> str:
    return f"{words.setting(row['axis'], row['lower'])} beat {words.setting(row['axis'], row['higher'])}"


def _difference(row: Mapping[Hashable, Any]) -> str:
    if np.isfinite(row["percent"]):
        return f"{row['percent']:.1f} % ± {row['percent_half_width']:.1f}"
    return f"{row['difference']:.3g} ± {row['half_width']:.2g}"


def _description(rows: Sequence[Mapping[Hashable, Any]], metric: str, spread: tuple[float, int]) -> str:
    """State the differences seen with too few seeds, and that they may be luck."""
    differences = [
        f"{words.setting(row['axis'], row['lower'])} "
        + (f"{row['percent']:.1f} %" if np.isfinite(row["percent"]) else f"{row['difference']:.3g}")
        + f" below {words.setting(row['axis'], row['higher'])}"
        for row in sorted(rows, key=_size, reverse=True)
    ]
    seeds = max(int(row["seeds"]) for row in rows)
    share, configurations = spread
    luck = "how far seeds alone move a run is unknown"
    if configurations:
        plural = "s" if configurations > 1 else ""
        luck = f"seeds alone move a run by about {100 * share:.1f} % ({configurations} configuration{plural})"
    return (
        f"In these runs, by mean {words.metric_name(metric)}: {words.join(differences)}. "
        f"{'One seed cannot' if seeds == 1 else f'{seeds} seeds cannot'} tell whether that is luck: {luck}."
    )
