"""Optimizers and losses with settings: their text, which is one value of an axis, and what is refused."""

import pytest

from gridcast.config import grid, keras_names
from gridcast.runtime.errors import ConfigError
from small_experiments import experiment


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("adam", "adam"),
        ({"name": "adam"}, "adam"),
        ({"name": "adamw", "weight_decay": 0.01, "clipnorm": 1}, "adamw clipnorm=1.0 weight_decay=0.01"),
        ("adamw weight_decay=0.01 clipnorm=1.0", "adamw clipnorm=1.0 weight_decay=0.01"),
        ({"name": "sgd", "momentum": 0.9, "nesterov": True}, "sgd momentum=0.9 nesterov=true"),
    ],
)
def test_an_optimizer_is_one_text_however_it_is_written(value, text):
    assert keras_names.optimizer_text(value) == text
    name, settings = keras_names.name_and_settings(text)
    assert keras_names.optimizer_text({"name": name, **settings}) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("adamm", "'adamm' is not allowed; did you mean 'adam'?"),
        ({"name": "adamw", "weight_decy": 0.1}, "adamw: unknown setting weight_decy; did you mean 'weight_decay'?"),
        ({"name": "adam", "learning_rate": 0.1}, "adam: unknown setting learning_rate (it is an axis of its own"),
        ({"name": "adam", "clipnorm": "1"}, "adam: clipnorm must be a number, 0 or above (got '1')"),
        ({"name": "adam", "clipnorm": -1}, "adam: clipnorm must be a number, 0 or above (got -1)"),
        ({"name": "sgd", "nesterov": 1}, "sgd: nesterov must be true or false"),
        ({"weight_decay": 0.1}, "expected a name such as adamw, or {name: adamw, ...} with settings"),
    ],
)
def test_a_wrong_optimizer_is_refused_with_a_near_miss(value, expected):
    with pytest.raises(ConfigError) as caught:
        experiment(grid={"optimizer": ["adam", value]})
    assert str(caught.value).startswith(f"experiment: grid.optimizer[1]: {expected}")


def test_optimizers_and_losses_with_settings_are_axes():
    own = experiment(
        grid={"optimizer": ["adam", {"name": "lion", "weight_decay": 0.1}]},
        training={"loss": {"name": "huber", "delta": 0.5}},
    )
    found = [(one.optimizer, one.loss) for one in grid.configurations(own)]
    assert found == [("adam", "huber delta=0.5"), ("lion weight_decay=0.1", "huber delta=0.5")]


def test_old_names_are_hashed_as_before():
    before = experiment(baseline={"optimizer": "adam"}, training={"loss": "huber"})
    after = experiment(baseline={"optimizer": {"name": "adam"}}, training={"loss": {"name": "huber"}})
    keys = [grid.run_key(one, grid.expand(one)[0], fingerprint="f", backend="jax") for one in (before, after)]
    assert keys[0] == keys[1]
    assert before.configuration().settings()["optimizer"] == "adam"
