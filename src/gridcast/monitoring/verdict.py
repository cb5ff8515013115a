"""The sentences about a model in use: alarms and remarks."""

from __future__ import annotations

import math

from gridcast.monitoring.findings import MonitorFindings, row_dicts


def alarms_and_remarks(found: MonitorFindings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is past its limit, and what else there is to tell, in sentences."""
    alarms: list[str] = []
    told: list[str] = []
    for past, sentence in (_error(found), *_cover(found)):
        (alarms if past else told).append(sentence)
    if found.naive:
        best = found.naive[0]
        against = "beats it" if best["mase"] <= found.own["mase"] else "does not beat it"
        told.append(
            f"The best naive forecast of the same rows, {best['name']}, {against}: MASE "
            f"{best['mase']:.4g} ({best['mase_before']:.4g} on the test span)."
        )
    drifted = found.drift[found.drift["drifted"]]
    for row in row_dicts(drifted):
        what = "values of" if row["view"] == "value" else "changes from step to step of"
        way = "higher" if row["rank"] > 0.55 else "lower" if row["rank"] < 0.45 else "otherwise spread"
        alarms.append(
            f"The {what} {row['feature']} are {way} than in training: PSI {row['psi']:.2f}, where 19 of 20 known "
            f"stretches of {found.judged} steps stay below {row['usual_psi']:.2f} (limit {found.limits.psi:g}; "
            f"p {row['p_value']:.1g} over all features)."
        )
    if found.judged and not len(drifted):
        named = ", ".join(found.drift["feature"].unique())
        told.append(f"No drift past its limit: {named}. Known stretches of {found.judged} steps differ as much.")
    for feature, part in found.stuck.groupby("feature", sort=False):
        worst = row_dicts(part.nlargest(1, "steps"))[0]
        others = f" and {len(part) - 1} more" if len(part) > 1 else ""
        alarms.append(
            f"{feature} stands still: that of {worst['series']}{others} has been {worst['value']:g} for the last "
            f"{worst['steps']} steps (limit {worst['usual']}, twice its longest pause in training)."
        )
    for row in row_dicts(found.challengers):
        sure = f"p {row['p_value']:.2g}" if math.isfinite(row["p_value"]) else "too few times to test"
        told.append(
            f"The challenger {row['name']} is {abs(row['percent']):.1f} % "
            f"{'better' if row['percent'] < 0 else 'worse'} on {row['forecasts']:,} forecasts of the same requests "
            f"(MASE {row['mase']:.4g} against {row['champion']:.4g}, {sure})."
        )
    return tuple(alarms), tuple(told)


def _error(found: MonitorFindings) -> tuple[bool, str]:
    own, limit = found.own, found.limits.error
    risen = found.ratio > limit
    likely = f"; p {found.p_value:.1g}" if risen and math.isfinite(found.p_value) else ""
    past = risen and found.p_value <= found.limits.alpha
    chance = "; so few steps may differ so much by chance" if risen and not past else ""
    return past, (
        f"Its MASE on {found.steps:,} new steps, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}, is "
        f"{own['mase']:.4g}, {found.ratio:.2f} times the {own['mase_before']:.4g} on the test span when it was "
        f"promoted (limit {limit:g}{likely}{chance})."
    )


def _cover(found: MonitorFindings) -> list[tuple[bool, str]]:
    if found.coverage is None:
        return []
    own, limit = found.coverage, found.coverage.promised - found.limits.coverage
    before = f", {100 * own.before:.1f} % of the test span" if math.isfinite(own.before) else ""
    past = own.live < limit and own.p_value <= found.limits.alpha
    return [
        (
            past,
            f"Its {100 * own.promised:.4g} % interval holds {100 * own.live:.1f} % of the new values{before} "
            f"(limit {100 * limit:.4g} %).",
        )
    ]
