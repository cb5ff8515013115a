"""Names of columns that a model answers with."""

import pytest

from gridcast.data.answer_names import check_answer_names
from gridcast.runtime.errors import ConfigError
from small_experiments import experiment, planned, sales


@pytest.mark.parametrize(
    ("data", "sections", "field"),
    [
        ({"time": "forecast"}, {}, "time"),
        ({"series": ["product", "rolled_forward"]}, {}, "series"),
        ({"series": ["model"]}, {"mode": "local"}, "series"),
        ({"target": "problem"}, {}, "target"),
        ({"past": ["forecast"]}, {}, "past"),
        ({"future": ["day_of_week", "q0.25"]}, {"task": "probabilistic"}, "future"),
    ],
)
def test_a_column_of_the_answer_is_refused_with_a_remedy(data, sections, field):
    name = data[field][-1] if isinstance(data[field], list) else data[field]
    with pytest.raises(ConfigError) as refused:
        check_answer_names(experiment(data=data, **sections))
    assert str(refused.value) == (
        f"data.{field}: '{name}' is a column of the answer of this model, which would have two of that name; rename "
        f"the column in sales.csv, to '{name}_column' for instance, and write that name here"
    )


@pytest.mark.parametrize("name", ["model", "q0.25", "score", "quantity2"])
def test_names_that_no_answer_of_this_model_has_are_allowed(name):
    check_answer_names(experiment(data={"series": [name]}))


def test_the_remedy_works(tmp_path):
    frame = sales(60).rename(columns={"product": "model"})
    sections = {"mode": "local", "data": {"series": "model"}}
    with pytest.raises(ConfigError, match=r"data.series: 'model' is a column of the answer"):
        planned(tmp_path, frame, **sections)
    renamed = frame.rename(columns={"model": "model_column"})
    assert planned(tmp_path, renamed, **sections | {"data": {"series": "model_column"}}).runs
