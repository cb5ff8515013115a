"""The exchange of a champion: only of the one that was meant, and in an order of writes that a kill does not spoil.

MLflow sets one alias at a time. So the whole change is written first, as a tag of the registered model; whoever comes
next to change the champion completes what a killed process has begun, or takes back its tag. At no time does the model
have no champion, nor both aliases on one version.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from gridcast.runtime.errors import ChampionChanged, TrackingError
from gridcast.tracking.registry import (
    BEATEN_BY_TAG,
    CHAMPION,
    PREVIOUS,
    Promotion,
    alias_number,
    find_version,
    missing_alias_message,
    registered_model,
    require_model,
    version_number,
    version_with_alias,
)
from gridcast.tracking.store import mlflow_errors

CHANGE_TAG = "gridcast.change"
GRACE_SECONDS = 5.0
"""How long a change may take, which is less than a second, before its process counts as killed."""
ROLLBACK = "rollback"


@dataclass(frozen=True)
class ChampionChange:
    """A change of the aliases of a registered model by a `verb`: the numbers of versions, None for none.

    `champion` and `previous` are the new ones, the others those before.
    """

    verb: str
    champion: str
    previous: str | None
    former_champion: str | None
    former_previous: str | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def rollback(client: Any, name: str) -> Promotion:
    """Swap the `champion` and `previous` aliases; calling it twice restores the original state.

    A rollback that was killed in the middle is completed instead. Raises TrackingError, with nothing changed, if the
    model, one of the versions or its alias is missing; ChampionChanged if the champion changes meanwhile.
    """
    with mlflow_errors(client.tracking_uri):
        require_model(client, name)
        completed = settle_change(client, name)
        if completed is None or completed.verb != ROLLBACK:
            _swap(client, name)
        model = require_model(client, name)
        champion, previous = (version_with_alias(client, model, alias) for alias in (CHAMPION, PREVIOUS))
        if champion is None:
            raise TrackingError(missing_alias_message(client, model, CHAMPION))
    return Promotion(
        version=version_number(champion),
        name=name,
        beaten_by=champion.tags.get(BEATEN_BY_TAG),
        previous=None if previous is None else version_number(previous),
    )


def _swap(client: Any, name: str) -> None:
    model = require_model(client, name)
    champion, previous = (version_with_alias(client, model, alias) for alias in (CHAMPION, PREVIOUS))
    if champion is None:
        raise TrackingError(missing_alias_message(client, model, CHAMPION))
    if previous is None or previous.version == champion.version:
        raise TrackingError(missing_alias_message(client, model, PREVIOUS))
    former, new = version_number(champion), version_number(previous)
    exchange_champion(client, name, verb=ROLLBACK, champion=new, previous=former, expected=former)


def exchange_champion(
    client: Any, name: str, *, verb: str, champion: str, previous: str | None, expected: str | None
) -> None:
    """Make the version `champion` the champion of `name`, and `previous` the previous one (None: as it is).

    Raises ChampionChanged, with nothing changed, if the champion is not the version `expected` any more, or another
    process is about to change it.
    """
    model = client.get_registered_model(name)
    former_previous = alias_number(model, PREVIOUS)
    change = ChampionChange(verb, champion, previous or former_previous, expected, former_previous)
    if _pending(model) is not None or alias_number(model, CHAMPION) != expected:
        raise ChampionChanged(_refusal(model, verb))
    client.set_registered_model_tag(name, CHANGE_TAG, json.dumps(asdict(change)))
    model = client.get_registered_model(name)
    if _pending(model) != change or alias_number(model, CHAMPION) != expected:  # another process came first
        if _pending(model) == change:
            client.delete_registered_model_tag(name, CHANGE_TAG)
        raise ChampionChanged(_refusal(model, verb))
    if former_previous == champion:
        client.delete_registered_model_alias(name, PREVIOUS)
    client.set_registered_model_alias(name, CHAMPION, champion)
    _complete(client, name, change)


def settle_change(client: Any, name: str) -> ChampionChange | None:
    """Complete the change that a killed process has begun, and return it; that of a living one is waited for.

    If the champion is as it was before the change, the rest is made so too, and None is returned; None where there is
    no such change or no such model.
    """
    begun = time.monotonic()
    model = registered_model(client, name)
    change = _pending(model)
    while change is not None and time.monotonic() - begun < GRACE_SECONDS:
        time.sleep(0.1)
        model = registered_model(client, name)
        if _pending(model) != change:
            change, begun = _pending(model), time.monotonic()
    if change is None:
        return None
    if alias_number(model, CHAMPION) == change.champion:
        _complete(client, name, change)
        return change
    if alias_number(model, PREVIOUS) is None:
        _set_previous(client, name, change.former_previous)
    client.delete_registered_model_tag(name, CHANGE_TAG)
    return None


def _complete(client: Any, name: str, change: ChampionChange) -> None:
    """Make the rest of a change whose champion is set; another process may have done so, or made a later change."""
    model = client.get_registered_model(name)
    pending = _pending(model)
    if alias_number(model, CHAMPION) == change.champion and pending in (None, change):
        if alias_number(model, PREVIOUS) != change.previous:
            _set_previous(client, name, change.previous)
        if pending is not None:
            client.delete_registered_model_tag(name, CHANGE_TAG)


def _set_previous(client: Any, name: str, number: str | None) -> None:
    """Set the alias, unless the version was deleted meanwhile."""
    if number is not None and find_version(client, name, number) is not None:
        client.set_registered_model_alias(name, PREVIOUS, number)


def _pending(model: Any) -> ChampionChange | None:
    """The change that the tag of a model describes; None without a tag, or for one that somebody else wrote."""
    text = model.tags.get(CHANGE_TAG) if model is not None else None
    try:
        return None if text is None else ChampionChange(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _refusal(model: Any, verb: str) -> str:
    number = alias_number(model, CHAMPION)
    now = "it has no champion now" if number is None else f"the champion is version {number} now"
    return f"'{model.name}': another process changes the champion too ({now}); nothing was changed; repeat the {verb}"
