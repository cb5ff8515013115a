"""Sentences about a model in use: alarms and remarks."""

from __future__ import annotations

import math

from gridcast.monitoring.findings import MonitorFindings, row_dicts


def alarms_and_remarks(findings: MonitorFindings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return sentences on everything that exceeds its limit (alarms), and on everything else (remarks)."""
    alarms: list[str] = []
    remarks: list[str] = []
    for is_alarm, sentence in (_error_sentence(findings), *_coverage_sentences(findings)):
        (alarms if is_alarm else remarks).append(sentence)
    remarks += _naive_sentences(findings)
    drift_alarms = _drift_alarms(findings)
    alarms += drift_alarms
    if findings.compared_steps and not drift_alarms:
        features = ", ".join(findings.drift["feature"].unique())
        remarks.append(
            f"No feature drifted past its limit: {features}. Stretches of {findings.compared_steps} steps in the "
            "training and validation spans differ as much."
        )
    alarms += _stuck_alarms(findings)
    remarks += _challenger_sentences(findings)
    return tuple(alarms), tuple(remarks)


def _error_sentence(findings: MonitorFindings) -> tuple[bool, str]:
    """Return whether the live error is an alarm, and the sentence on it."""
    champion, limit = findings.champion, findings.limits.error
    exceeds = findings.ratio > limit
    is_alarm = exceeds and findings.p_value <= findings.limits.alpha
    p_value = f"; p {findings.p_value:.1g}" if exceeds and math.isfinite(findings.p_value) else ""
    chance = "; over so few steps this may be chance" if exceeds and not is_alarm else ""
    return is_alarm, (
        f"Its MASE on {findings.steps:,} new steps, {findings.first:%Y-%m-%d} to {findings.last:%Y-%m-%d}, is "
        f"{champion['mase']:.4g}, {findings.ratio:.2f} times the {champion['mase_before']:.4g} on the test span when "
        f"it was promoted (limit {limit:g}{p_value}{chance})."
    )


def _coverage_sentences(findings: MonitorFindings) -> list[tuple[bool, str]]:
    """Return whether the coverage is an alarm, and the sentence on it; nothing without an interval."""
    coverage = findings.coverage
    if coverage is None:
        return []
    limit = coverage.nominal - findings.limits.coverage
    test = f", {100 * coverage.test:.1f} % of the test span" if math.isfinite(coverage.test) else ""
    is_alarm = coverage.live < limit and coverage.p_value <= findings.limits.alpha
    sentence = (
        f"Its {100 * coverage.nominal:.4g} % interval covers {100 * coverage.live:.1f} % of the new values{test} "
        f"(limit {100 * limit:.4g} %)."
    )
    return [(is_alarm, sentence)]


def _naive_sentences(findings: MonitorFindings) -> list[str]:
    if not findings.naive:
        return []
    best = findings.naive[0]
    verb = "beats it" if best["mase"] <= findings.champion["mase"] else "does not beat it"
    return [
        f"The best naive forecast of the same rows, {best['name']}, {verb}: MASE {best['mase']:.4g} "
        f"({best['mase_before']:.4g} on the test span)."
    ]


def _drift_alarms(findings: MonitorFindings) -> list[str]:
    sentences = []
    for row in row_dicts(findings.drift[findings.drift["drifted"]]):
        is_value = row["view"] == "value"
        subject = "values" if is_value else "step-to-step changes"
        higher, lower = ("higher", "lower") if is_value else ("larger", "smaller")
        direction = higher if row["rank"] > 0.55 else lower if row["rank"] < 0.45 else "distributed differently"
        sentences.append(
            f"The {subject} of {row['feature']} are {direction} than in training: PSI {row['psi']:.2f}, where 95 % of "
            f"the stretches of {findings.compared_steps} steps in the training and validation spans stay below "
            f"{row['usual_psi']:.2f} (limit {findings.limits.psi:g}; p {row['p_value']:.1g} over all features)."
        )
    return sentences


def _stuck_alarms(findings: MonitorFindings) -> list[str]:
    sentences = []
    for feature, rows in findings.stuck.groupby("feature", sort=False):
        worst = row_dicts(rows.nlargest(1, "steps"))[0]
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        sentences.append(
            f"{feature} is stuck: that of {worst['series']}{others} has been {worst['value']:g} for the last "
            f"{worst['steps']} steps (limit {worst['usual']}, twice the longest run of one value in training)."
        )
    return sentences


def _challenger_sentences(findings: MonitorFindings) -> list[str]:
    sentences = []
    for row in row_dicts(findings.challengers):
        p_value = f"p {row['p_value']:.2g}" if math.isfinite(row["p_value"]) else "too few times to test"
        sentences.append(
            f"The challenger {row['name']} is {abs(row['percent']):.1f} % "
            f"{'better' if row['percent'] < 0 else 'worse'} on {row['forecasts']:,} forecasts of the same requests "
            f"(MASE {row['mase']:.4g} against {row['champion']:.4g}, {p_value})."
        )
    return sentences
