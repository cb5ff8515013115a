"""What was never negative is not forecast below 0: neither by a point, nor by a quantile, whatever corrects it."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from gridcast.runtime import loading
from gridcast.runtime.conformal import ConformalCorrection
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import Quantiles
from gridcast.runtime.windows import WindowInputs
from small_experiments import planned, sales
from untrained_models import untrained_files

FRAME = sales(100)
LEVELS = (0.1, 0.5, 0.9)
NEGATIVE = FRAME.assign(quantity=FRAME["quantity"].mask(FRAME.index == 85, -1.0))  # in the validation span of apples


@dataclass(frozen=True)
class Low:
    """A network whose outputs are all -5, in scaled units."""

    outputs: int

    def predict_on_batch(self, inputs):
        count = len(next(iter(inputs.values())))
        return np.full((count, 1) if self.outputs == 1 else (count, 1, self.outputs), -5.0)


@pytest.mark.parametrize(
    ("frame", "transform", "is_floored"), [(FRAME, {}, True), (FRAME, {"floor": "none"}, False), (NEGATIVE, {}, False)]
)
def test_a_point_is_not_below_zero_where_nothing_before_the_test_span_is(tmp_path, frame, transform, is_floored):
    preprocessing = planned(tmp_path, frame, transform=transform).dataset.preprocessing
    forecast = Forecaster(preprocessing, Low(1)).predict(FRAME, {"horizon": 3})["forecast"]
    assert (forecast == 0).all() if is_floored else (forecast < 0).all()
    content = json.loads(json.dumps(preprocessing.to_json()))
    assert Preprocessing.from_json(content).floor == (0.0 if is_floored else None)
    del content["floor"]
    assert (Forecaster(Preprocessing.from_json(content), Low(1)).predict(FRAME)["forecast"] < 0).all()


def test_corrected_quantiles_are_not_below_the_floor_and_those_of_former_models_are():
    correction = ConformalCorrection((0.1,), ((50.0,),))
    quantiles = Quantiles("quantile", LEVELS, 10, correction, floor=0.0)
    windows = WindowInputs({"signal": np.zeros((2, 3, 1))}, np.array([4.0, 400.0]), np.ones(2), 3)
    values = quantiles.compute(Low(3), windows, LEVELS, 0)
    assert values[0, 0, 0] == 0
    assert (values >= 0).all()
    free = replace(quantiles, floor=None).compute(Low(3), windows, LEVELS, 0)
    np.testing.assert_array_equal(values, np.maximum(free, 0))
    assert free.min() < 0
    content = json.loads(json.dumps(quantiles.to_json()))
    assert Quantiles.from_json(content) == quantiles
    del content["floor"]
    assert Quantiles.from_json(content) == replace(quantiles, floor=None)


@pytest.mark.usefixtures("jax_backend")
def test_a_probabilistic_model_of_sales_has_the_floor_in_its_paths_and_quantiles(tmp_path):
    few = FRAME.assign(quantity=FRAME["quantity"].where(FRAME.index % 5 == 0, 0.0))
    sections = {"task": "probabilistic", "probabilistic": {"quantiles": list(LEVELS), "paths": 30}}
    plan = planned(tmp_path, few, **sections)
    model = loading.load_from_bytes(untrained_files(plan.dataset, plan.reference_run))
    table = model.predict(few)
    assert table["q0.1"].tolist() == [0.0, 0.0]
    assert (table[["forecast", "q0.5", "q0.9"]] >= 0).all(axis=None)
    index, codes = plan.dataset.origins("test", 7), plan.dataset.series_codes
    paths = model.samples_of(plan.dataset.channels, index, codes)
    assert paths.min() == 0
    free = replace(model, quantiles=replace(model.quantiles, floor=None))
    assert free.samples_of(plan.dataset.channels, index, codes).min() < 0
