"""What newer code reads off a model of an older version, and the kinds of models and errors."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime import loading
from gridcast.runtime.calendar_features import MarkedDays
from gridcast.runtime.errors import ConfigError, DataError, GridcastError, UnknownModel, is_data_error
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.loading import kind_of
from gridcast.runtime.preprocessing import Preprocessing
from small_experiments import planned, sales

FORMER_KEYS = {"closed", "dated", "span", "usual", "begins", "seconds", "typical", "spreads"}


class LastValue:
    """A network that repeats the last value of each window."""

    def predict_on_batch(self, inputs):
        return inputs["history"][:, -1:, 0]


@pytest.fixture
def preprocessing(tmp_path):
    frame = sales(60).rename(columns={"product": "shelf/product"}).assign(shop="a/b")
    data = {"series": ["shop", "shelf/product"], "future": ["holidays:GB", "trend"], "zero_runs": "feature"}
    return planned(tmp_path, frame, data=data | {"gaps": "zero"}).dataset.preprocessing


def test_the_keys_of_the_json_are_those_of_version_0_1_0_and_bring_everything_back(preprocessing):
    content = json.loads(json.dumps(preprocessing.to_json()))
    assert set(content) >= FORMER_KEYS
    assert set(content["dated"][0]) == {"name", "labels", "channels", "known"}
    again = Preprocessing.from_json(content)
    assert json.dumps(again.to_json()) == json.dumps(preprocessing.to_json())
    assert again.marked_days == preprocessing.marked_days
    assert again.marked_days[0].known_span is not None
    assert again.zero_run_limits == preprocessing.zero_run_limits != ()


def test_the_json_of_a_model_from_before_there_were_some_keys_has_their_defaults(preprocessing):
    content = {key: value for key, value in preprocessing.to_json().items() if key not in FORMER_KEYS}
    again = Preprocessing.from_json(content | {"unknown": 1})
    assert (again.closed_dates, again.marked_days, again.window_spreads) == (None, (), ())


def test_a_preprocessing_of_the_code_that_a_model_carries_becomes_one_of_this_code(preprocessing):
    class Carried:
        """As it was called elsewhere: nothing but its JSON is read."""

        def to_json(self):
            return preprocessing.to_json()

    adopted = Preprocessing.adopt(Carried())
    assert (adopted.series, adopted.training_span) == (preprocessing.series, preprocessing.training_span)


def test_days_have_the_fingerprint_of_version_0_1_0():
    days = MarkedDays("holidays:GB", ("holidays:GB",), ((("2023-01-02", "2023-01-02"),),), ("2023-01-01", "2023-12-31"))
    assert days.fingerprint_text == (
        "Dated(name='holidays:GB', labels=('holidays:GB',), channels=((('2023-01-02', '2023-01-02'),),), "
        "known=('2023-01-01', '2023-12-31'))"
    )
    assert MarkedDays.from_json(json.loads(json.dumps(days.to_json()))) == days
    assert replace(days, known_span=None).fingerprint_text.endswith("known=None)")


@pytest.mark.parametrize("plain", [False, True])
def test_a_series_is_found_by_its_key_columns_in_new_models_and_in_those_with_plain_ids(tmp_path, plain):
    """Versions before 0.2.0 joined the key columns ("a/b", "apple") to a/b/apple."""
    frame = sales(60).assign(shop="a/b")
    own = planned(tmp_path, frame, data={"series": ["shop", "product"]}).dataset.preprocessing
    assert own.series == ("a\\/b/apple", "a\\/b/pear")
    if plain:
        own = replace(own, series=("a/b/apple", "a/b/pear"))
    forecasts = Forecaster(own, LastValue()).predict(frame)
    assert forecasts[["shop", "product"]].to_numpy().tolist() == [["a/b", "apple"], ["a/b", "pear"]]
    np.testing.assert_allclose(forecasts["forecast"], frame.groupby("product")["quantity"].last(), rtol=1e-5)
    assert own.series_column(frame).unique().tolist() == list(own.series)
    assert [own.code_of(name) for name in ("a\\/b/apple", "a\\/b/pear")] == [0, 1]
    again = own.series_column(pd.DataFrame([own.key_values(name) for name in own.series]))
    assert again.tolist() == list(own.series)


def test_an_unknown_series_of_several_keys_is_refused_by_its_id(tmp_path):
    frame = sales(60).assign(shop="a/b")
    own = planned(tmp_path, frame, data={"series": ["shop", "product"]}).dataset.preprocessing
    with pytest.raises(DataError, match=r"series 'a/c\\/apple' was not in the training data"):
        Forecaster(own, LastValue()).predict(frame.assign(shop="a", product="c/apple"))


def test_a_model_is_a_detector_or_a_forecaster_by_whatever_code_it_runs(preprocessing):
    assert kind_of(Forecaster(preprocessing, None)) == "forecaster"
    assert kind_of(type("CarriedDetector", (), {"threshold": 1.0})()) == "detector"


def test_an_error_is_one_of_the_data_by_its_exit_code_whatever_code_raised_it():
    carried = type("DataError", (Exception,), {"exit_code": 2})
    assert is_data_error(carried("no rows"))
    assert is_data_error(DataError("no rows"))
    assert is_data_error(ConfigError("no such key"))
    assert not is_data_error(GridcastError("failed"))
    assert not is_data_error(ValueError("2"))
    assert is_data_error(UnknownModel("none of this name"))  # exit code 2, too


@pytest.mark.parametrize(
    ("path", "file", "chosen"),
    [
        (sys.path, None, None),  # TensorFlow, Keras's default, is there
        ([], None, "jax"),
        ([], '{"backend": "tensorflow"}', "jax"),  # Keras itself writes this
        ([], '{"backend": "torch"}', None),
        ([], "not JSON", "jax"),
    ],
)
def test_keras_runs_on_jax_where_its_default_is_not_installed(path, file, chosen, tmp_path, monkeypatch):
    if file:
        (tmp_path / "keras.json").write_text(file)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", path)
    loading.choose_keras_backend()
    assert os.environ.get("KERAS_BACKEND") == chosen


def test_a_backend_that_is_set_stays(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    loading.choose_keras_backend()
    assert os.environ["KERAS_BACKEND"] == "torch"
