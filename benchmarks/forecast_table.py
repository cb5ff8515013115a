"""The table of the forecasting benchmark: contenders by set, and gridcast beside the best peer of each set."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import measure

LOSS = "weighted_quantile_loss"
MEASURES = (LOSS, "mase", "coverage_80", "wall_seconds", "cpu_seconds", "peak_megabytes")


@dataclass(frozen=True)
class ForecastBenchmark:
    """One contender on one set with one seed: its scores and its cost.

    `asked` holds all settings of the contender, `versions` those of its packages, `note` how it made its forecast.
    `failed` is the end of its output if it failed; its scores are empty then. The fields are the keys of the JSON file
    that keeps the result.
    """

    set: str
    contender: str
    seed: int
    asked: dict[str, Any]
    scores: dict[str, float]
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    versions: dict[str, str]
    note: str = ""
    failed: str | None = None


def summary(results: Iterable[ForecastBenchmark], ours: Container[str]) -> dict[str, dict[str, Any]]:
    """Return by set and contender the mean of each measure over the seeds, the loss of each, and its ratio.

    The ratio is the loss over that of the set's best peer, which is none of `ours`; None where no peer has a result.
    """
    summaries: dict[str, dict[str, Any]] = {}
    for done in results:
        if done.failed is None:
            summaries.setdefault(done.set, {}).setdefault(done.contender, []).append({**done.scores, **vars(done)})
    for contenders in summaries.values():
        for key, rows in contenders.items():
            contenders[key] = {name: statistics.mean(row[name] for row in rows) for name in MEASURES}
            contenders[key]["losses"] = [row[LOSS] for row in rows]
        best = _best_peer(contenders, ours)
        for row in contenders.values():
            row["ratio"] = row[LOSS] / contenders[best][LOSS] if best else None
    return summaries


def table(summaries: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], ours: Container[str]) -> str:
    """Return the summary as aligned text, with a line for each of `ours` over all sets."""
    lines = [("", "quantile loss", "min-max", "ratio", "MASE", "80 % covers", "wall s", "CPU s", "peak MB")]
    for name, contenders in summaries.items():
        lines.append((name, *[""] * 8))
        for key, row in contenders.items():
            spread = f"{min(row['losses']):.4f}-{max(row['losses']):.4f}" if len(row["losses"]) > 1 else ""
            ratio = f"{row['ratio']:.3f}" if row["ratio"] else "-"
            scored = f"{row[LOSS]:.4f}", spread, ratio, f"{row['mase']:.3f}"
            cost = f"{row['wall_seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_megabytes']:.0f}"
            lines.append((f"  {titles[key]}", *scored, f"{row['coverage_80']:.1%}", *cost))
    note = "Means over the seeds; cost per seed. Ratio: quantile loss over that of the best peer of the set."
    return "\n".join([measure.aligned(lines), note, *_overall(summaries, titles, ours)])


def _best_peer(contenders: Mapping[str, Mapping[str, Any]], ours: Container[str]) -> str | None:
    """The contender with the least loss that is none of `ours`."""
    peers = [key for key in contenders if key not in ours]
    return min(peers, key=lambda key: contenders[key][LOSS], default=None)


def _overall(
    summaries: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], ours: Container[str]
) -> Iterable[str]:
    """A sentence for each of `ours`: its ratios of loss and of processor time to the best peer of each set."""
    by_contender: dict[str, dict[str, tuple[float, float]]] = {}
    for name, contenders in summaries.items():
        best = _best_peer(contenders, ours)
        for key, row in contenders.items():
            if best is not None and key in ours:
                cost = row["cpu_seconds"] / contenders[best]["cpu_seconds"]
                by_contender.setdefault(key, {})[name] = row["ratio"], cost
    for key, ratios in by_contender.items():
        mean = statistics.geometric_mean(loss for loss, _ in ratios.values())
        worst = max(ratios, key=lambda name: ratios[name][0])
        cost = statistics.median(cost for _, cost in ratios.values())
        yield (
            f"{titles[key]}, {len(ratios)} sets: geometric mean of the ratio {mean:.3f}, worst {ratios[worst][0]:.3f} "
            f"({worst}); median of its CPU time over the best peer's {cost:.2f}."
        )
