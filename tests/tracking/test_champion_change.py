"""A champion is exchanged once, whoever is killed or comes between; sentences on it ask the registry."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from killed_client import Killed, KilledClient

from gridcast.runtime.errors import ChampionChanged, TrackingError
from gridcast.tracking import champion_change, mlflow_runs
from gridcast.tracking.champion_change import CHANGE_TAG, exchange_champion, rollback, settle_change
from gridcast.tracking.promotion_outcome import present_outcome
from gridcast.tracking.registry import CHAMPION, PREVIOUS, Promotion
from gridcast.tracking.store import Store, connect

NAME = "shop"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registered model with the versions 1 to 4; 2 is the champion, 1 the previous one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(champion_change, "GRACE_SECONDS", 0)
    made, _ = connect(f"sqlite:///{tmp_path}/mlflow.db")
    made.create_registered_model(NAME)
    for number in range(1, 5):
        made.create_model_version(NAME, f"mlruns/{number}", run_id=f"run{number}")
    made.set_registered_model_alias(NAME, CHAMPION, "2")
    made.set_registered_model_alias(NAME, PREVIOUS, "1")
    return made


def aliases(client: Any) -> dict[str, str]:
    return {alias: str(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def promote(client: Any) -> None:
    settle_change(client, NAME)
    if aliases(client)[CHAMPION] != "3":
        champion = aliases(client)[CHAMPION]
        exchange_champion(client, NAME, verb="promotion", champion="3", previous=champion, expected=champion)


VERBS = {
    "promotion": (promote, {CHAMPION: "3", PREVIOUS: "2"}),
    "rollback": (lambda client: rollback(client, NAME), {CHAMPION: "1", PREVIOUS: "2"}),
}


@pytest.mark.parametrize("next_verb", VERBS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_before_any_write_leaves_one_champion_and_every_verb_goes_on_from_there(
    client: Any, verb: str, next_verb: str
) -> None:
    change, goal = VERBS[verb]
    for allowed in itertools.count():
        client.set_registered_model_alias(NAME, CHAMPION, "2")
        client.set_registered_model_alias(NAME, PREVIOUS, "1")
        killed = KilledClient(client, allowed)
        try:
            change(killed)
        except Killed:
            pass
        else:
            break
        after = aliases(client)
        assert after[CHAMPION] in ("2", goal[CHAMPION])
        assert after.get(PREVIOUS) != after[CHAMPION]
        is_changed = after[CHAMPION] == goal[CHAMPION]
        VERBS[next_verb][0](client)
        if verb == next_verb:
            assert aliases(client) == goal
        elif next_verb == "promotion":  # over the champion that there was
            assert aliases(client) == {CHAMPION: "3", PREVIOUS: after[CHAMPION]}
        else:  # of the promotion, if there was one
            assert aliases(client) == ({CHAMPION: "2", PREVIOUS: "3"} if is_changed else {CHAMPION: "1", PREVIOUS: "2"})
        assert client.get_registered_model(NAME).tags == {}
    assert allowed == len(killed.written) == {"promotion": 4, "rollback": 5}[verb]
    assert aliases(client) == goal


def test_a_champion_that_another_process_exchanged_is_not_replaced(client: Any) -> None:
    """At each moment at which it can come between."""
    for position in itertools.count():
        client.set_registered_model_alias(NAME, CHAMPION, "2")
        client.set_registered_model_alias(NAME, PREVIOUS, "1")
        moments = itertools.count()

        def another(_: str, moments: Any = moments, position: int = position) -> None:
            if next(moments) == position:
                settle_change(client, NAME)
                champion = aliases(client)[CHAMPION]
                exchange_champion(client, NAME, verb="promotion", champion="4", previous=champion, expected=champion)

        try:
            promote(KilledClient(client, before=another))
        except ChampionChanged:
            assert aliases(client) == {CHAMPION: "4", PREVIOUS: "2"}
        else:
            assert aliases(client)[CHAMPION] in ("3", "4")
            assert aliases(client)[PREVIOUS] in ("2", "3")
            assert len(set(aliases(client).values())) == 2
        assert client.get_registered_model(NAME).tags == {}
        if next(moments) <= position:
            break
    assert position > 3


def test_a_change_of_a_living_process_is_waited_for(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(champion_change, "GRACE_SECONDS", 60)

    def end(_: float) -> None:
        client.delete_registered_model_tag(NAME, CHANGE_TAG)

    monkeypatch.setattr(champion_change, "time", SimpleNamespace(monotonic=time.monotonic, sleep=end))
    with pytest.raises(Killed):
        rollback(KilledClient(client, 1), NAME)
    reader = KilledClient(client, 0)
    assert settle_change(reader, NAME) is None
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}


def test_of_two_changes_that_begin_at_once_one_is_refused(client: Any) -> None:
    def another(write: str) -> None:
        if write == "set_registered_model_tag":
            client.set_registered_model_alias(NAME, CHAMPION, "4")

    with pytest.raises(ChampionChanged, match=r"version 4 now\); nothing was changed; repeat the promotion"):
        promote(KilledClient(client, before=another))
    assert aliases(client) == {CHAMPION: "4", PREVIOUS: "1"}
    assert client.get_registered_model(NAME).tags == {}


def test_a_version_deleted_after_a_kill_does_not_block_the_verbs(client: Any) -> None:
    with pytest.raises(Killed):
        rollback(KilledClient(client, 3), NAME)
    assert aliases(client) == {CHAMPION: "1"}
    client.delete_model_version(NAME, "2")
    assert rollback(client, NAME) == Promotion("1", NAME)
    with pytest.raises(TrackingError, match="has no previous"):
        rollback(client, NAME)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"verb": 1}'])
def test_a_tag_that_gridcast_did_not_write_changes_nothing(client: Any, text: str) -> None:
    client.set_registered_model_tag(NAME, CHANGE_TAG, text)
    assert settle_change(client, NAME) is None
    assert rollback(client, NAME).version == "1"


PROMOTED, REFUSED = (
    "It is the champion: shop version 2, marked as beaten by ETS.",
    "It was not promoted: 'shop' was not promoted, the",
)


@pytest.mark.parametrize(
    ("recorded", "champion", "expected"),
    [
        (PROMOTED, "2", PROMOTED),
        (PROMOTED, "1", "It was made the champion, shop version 2, but version 1 is the champion now."),
        (PROMOTED, None, "It was made the champion, shop version 2, but there is no champion now."),
        (REFUSED, "1", REFUSED),
        (REFUSED, "2", "It is the champion: shop version 2."),
        (
            "It is the champion: gone version 2.",
            "2",
            "It was made the champion, gone version 2, but there is no champion now.",
        ),
        ("", "2", ""),
    ],
)
def test_the_report_says_what_the_registry_says(
    client: Any, recorded: str, champion: str | None, expected: str
) -> None:
    if champion is None:
        client.delete_registered_model_alias(NAME, CHAMPION)
    else:
        client.set_registered_model_alias(NAME, CHAMPION, champion)
    tags = {mlflow_runs.PROMOTION_TAG: recorded, mlflow_runs.WINNER_TAG: "run2"}
    assert present_outcome(Store(client, client.tracking_uri, "0"), tags) == expected


def test_an_unreachable_registry_is_not_spoken_for(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise TrackingError("no answer")

    monkeypatch.setattr(champion_change, "registered_model", fail)
    monkeypatch.setattr("gridcast.tracking.registry.registered_model", fail)
    tags = {mlflow_runs.PROMOTION_TAG: "It is the champion: shop version 2."}
    expected = "It was made the champion, shop version 2; whether it still is: no answer."
    assert present_outcome(Store(client, client.tracking_uri, "0"), tags) == expected
