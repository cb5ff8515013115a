"""Sentences about a model in use: alarms and remarks."""

from __future__ import annotations

import math

from gridcast.monitoring.error_shift import MIN_STEPS
from gridcast.monitoring.findings import MonitorFindings, row_dicts
from gridcast.tracking import looks


def alarms_and_remarks(findings: MonitorFindings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return sentences on everything that exceeds its limit (alarms), and on everything else (remarks)."""
    alarms: list[str] = []
    remarks: list[str] = []
    for is_alarm, sentence in (_error_sentence(findings), *_coverage_sentences(findings)):
        (alarms if is_alarm else remarks).append(sentence)
    remarks.append(_yardstick_sentence(findings))
    remarks += _naive_sentences(findings)
    drift_alarms = _drift_alarms(findings)
    alarms += drift_alarms
    is_judged = findings.drift["p_value"].notna()
    features = ", ".join(findings.drift.loc[is_judged, "feature"].unique())
    if findings.compared_steps and features and not drift_alarms:
        remarks.append(
            f"No feature drifted past its limit: {features}. Stretches of {findings.compared_steps} steps in the "
            "training and validation spans differ as much."
        )
    if not is_judged.all():
        views = [f"{row['feature']} ({row['view']})" for row in row_dicts(findings.drift[~is_judged])]
        remarks.append(f"Not judged, with too few values: {', '.join(views)}.")
    alarms += _stuck_alarms(findings)
    remarks += _challenger_sentences(findings)
    return tuple(alarms), tuple(remarks)


def _error_sentence(findings: MonitorFindings) -> tuple[bool, str]:
    """Return whether the live error is an alarm, and the sentence on it."""
    champion, shift, limits = findings.champion, findings.shift, findings.limits
    dates = f"{findings.first:%Y-%m-%d} to {findings.last:%Y-%m-%d}"
    if not (math.isfinite(champion["mase"]) and math.isfinite(findings.ratio) and math.isfinite(shift.ratio)):
        return True, (
            f"Its error on {findings.steps:,} new steps, {dates}, cannot be judged: {_why_not_judged(findings)}."
        )
    is_alarm = shift.is_risen(limits.error, limits.alpha)
    exceeds = shift.ratio > limits.error
    p_value = f"; p {shift.p_value:.1g}" if exceeds and math.isfinite(shift.p_value) else ""
    chance = "; over so few steps this may be chance" if exceeds and not is_alarm else ""
    sentence = (
        f"Its error on {shift.steps:,} judged steps of {findings.steps:,} new ones, {dates}, is {shift.ratio:.2f} "
        f"times the one on the test span when it was promoted (limit {limits.error:g}{p_value}{chance}), the largest "
        f"{100 * shift.trimmed:.0f} % of the errors left out of both. {_off_text(findings)} Its MASE over all of them "
        f"is {champion['mase']:.4g}, {findings.ratio:.2f} times the {champion['mase_before']:.4g} then"
    )
    worst = findings.worst
    if findings.ratio > limits.error >= shift.ratio and worst is not None:
        sentence += (
            f": a few large errors make it, {100 * worst.share:.0f} % of it that of {worst.series} at {worst.time}"
        )
    return is_alarm, f"{sentence}."


def _yardstick_sentence(findings: MonitorFindings) -> str:
    """State whether the error on the test span, which the live one is compared with, is one of several."""
    errors = looks.network_errors(findings.model.looks)
    if len(errors) < 2:
        return "The error on the test span, the yardstick, is not selected: no other network was tested there."
    return (
        f"The error on the test span, the yardstick, is not corrected for selection: {len(errors)} networks were "
        f"tested there. {looks.flattery_text(errors, 'MASE')}"
    )


def _off_text(findings: MonitorFindings) -> str:
    shift = findings.shift
    blocks = "1 block" if shift.blocks == 1 else f"{shift.blocks:,} blocks"
    p_value = shift.off_p_value
    risen = shift.is_often_off(findings.limits.error) and p_value <= findings.limits.alpha / 2
    more = f"; more often than on the test span, p {p_value:.1g}" if risen else ""
    return (
        f"{shift.off:,} steps ({100 * shift.share_off:.1f} %, usually 5 %) are off, in {blocks} of neighbouring "
        f"steps{more}."
    )


def _why_not_judged(findings: MonitorFindings) -> str:
    champion, forecasts = findings.champion, findings.live_forecasts["forecast"]
    not_finite = int((~forecasts.map(math.isfinite)).sum())
    if not_finite:
        return f"{not_finite:,} of {len(forecasts):,} forecasts are not finite numbers"
    if findings.shift.steps < MIN_STEPS:
        return f"{findings.shift.steps} of them have an actual value and a forecast, at least {MIN_STEPS} are needed"
    if not math.isfinite(champion["mase"]):
        return "every series was constant over the training span, which leaves MASE no unit"
    return "the test span has no MASE above 0 to compare it with"


def _coverage_sentences(findings: MonitorFindings) -> list[tuple[bool, str]]:
    """Return whether the coverage is an alarm, and the sentence on it; nothing without an interval."""
    coverage = findings.coverage
    if coverage is None:
        return []
    limit = coverage.nominal - findings.limits.coverage
    if not math.isfinite(coverage.live):
        return [(True, f"The coverage of its {100 * coverage.nominal:.4g} % interval cannot be judged.")]
    test = f", {100 * coverage.test:.1f} % of the test span" if math.isfinite(coverage.test) else ""
    is_alarm = coverage.live < limit and coverage.p_value <= findings.limits.alpha
    chance = "; over so few steps this may be chance" if coverage.live < limit and not is_alarm else ""
    sentence = (
        f"Its {100 * coverage.nominal:.4g} % interval covers {100 * coverage.live:.1f} % of the new values{test} "
        f"(limit {100 * limit:.4g} %{chance})."
    )
    return [(is_alarm, sentence)]


def _naive_sentences(findings: MonitorFindings) -> list[str]:
    if not findings.naive:
        return []
    best = findings.naive[0]
    return [
        f"The best naive forecast of the same rows, {best['name']}, has MASE {best['mase']:.4g} against its "
        f"{findings.champion['mase']:.4g} ({best['mase_before']:.4g} on the test span; not tested)."
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
        test = f"p {row['p_value']:.2g}" if math.isfinite(row["p_value"]) else "not tested: too few times"
        side = "below" if row["percent"] < 0 else "above"
        relation = f"has an error {abs(row['percent']):.1f} % {side} that of the champion"
        if row["p_value"] > findings.limits.alpha:
            relation, test = "cannot be told apart from the champion", f"{row['percent']:+.1f} %, {test}"
        sentences.append(
            f"The challenger {row['name']} {relation} on {row['forecasts']:,} forecasts of the same requests "
            f"({test}; MASE {row['mase']:.4g} against {row['champion']:.4g})."
        )
    return sentences
