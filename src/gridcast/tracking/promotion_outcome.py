"""The outcome of the promotion of a sweep: as its end recorded it, and as the registry has it now."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gridcast.runtime.errors import PromotionRefused, TrackingError
from gridcast.tracking import mlflow_runs, registry
from gridcast.tracking.registry import Promotion
from gridcast.tracking.store import Store, mlflow_errors

_PROMOTED = re.compile(r"It is the champion: (?P<name>.+?) version (?P<version>\d+)(?P<mark>,.*)?\.")

_REFUSED = re.compile(r"It was not promoted: '(?P<name>[^']+)' was not promoted")


def promotion_sentence(promoted: Promotion) -> str:
    """Return that the winner is champion."""
    return _sentence(promoted.name, promoted.version, promoted.beaten_by)


def refusal_sentence(refusal: PromotionRefused) -> str:
    """Return that the winner was not promoted, and why."""
    return f"It was not promoted: {refusal}"


def present_outcome(store: Store, tags: Mapping[str, str]) -> str:
    """Return what became of the promotion of a sweep with these `tags`, as it is now; empty if there was none.

    Somebody may have rolled back, promoted by hand, or promoted the winner of another sweep since.
    """
    recorded = tags.get(mlflow_runs.PROMOTION_TAG, "")
    match = _PROMOTED.fullmatch(recorded)
    named = match or _REFUSED.match(recorded)
    if named is None:
        return recorded
    name = named["name"]
    try:
        with mlflow_errors(store.uri):
            model = registry.registered_model(store.client, name)
            champion = registry.version_with_alias(store.client, model, registry.CHAMPION)
    except TrackingError as error:
        return (
            f"It was made the champion, {name} version {match['version']}; whether it still is: {error}."
            if match
            else recorded
        )
    number = None if champion is None else registry.version_number(champion)
    if match and number == match["version"]:
        return recorded
    runs = {tags.get(tag) for tag in (mlflow_runs.PROMOTED_RUN_TAG, mlflow_runs.WINNER_TAG)} - {None}
    if champion is not None and champion.run_id in runs:
        return _sentence(name, str(number), champion.tags.get(registry.BEATEN_BY_TAG))
    if not match:
        return recorded
    now = f"version {number} is the champion now" if number else "there is no champion now"
    return f"It was made the champion, {name} version {match['version']}, but {now}."


def _sentence(name: str, version: str, beaten_by: str | None) -> str:
    marked = f", marked as beaten by {beaten_by}" if beaten_by else ""
    return f"It is the champion: {name} version {version}{marked}."
