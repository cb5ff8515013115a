"""The experiment file: what is accepted, and how each fault is told."""

import pytest
import yaml
from pydantic import ValidationError

from gridcast import config
from gridcast.runtime.errors import ConfigError
from small_experiments import EXPERIMENTS, experiment, settings, watching


def fault(text):
    """What parsing `text` is refused with."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "shop.yaml")
    return str(caught.value)


def fault_of(**sections):
    return fault(yaml.safe_dump(settings(**sections)))


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"grdi": {}}, "grdi: unknown key; did you mean 'grid'? (allowed: version, name, "),
        ({"data": {"traget": "q"}}, "data.traget: unknown key; did you mean 'target'? (allowed: source, time, "),
        ({"data": {"select": {"topp": 3}}}, "data.select.topp: unknown key; did you mean 'top'? (allowed: top, only"),
        ({"window": {"horizn": 2}}, "window.horizn: unknown key; did you mean 'horizon'? (allowed: lookback, "),
        ({"grid": {"layr": ["GRU"]}}, "grid.layr: unknown key; did you mean 'layer'? (allowed: layer, "),
        ({"grid": [{"units": [8]}, {"unit": [8]}]}, "grid[1].unit: unknown key; did you mean 'units'?"),
        ({"baseline": {"droput": 0.1}}, "baseline.droput: unknown key; did you mean 'dropout'?"),
    ],
)
def test_unknown_key_is_refused_with_its_place_and_a_near_miss(sections, told):
    assert fault_of(**sections).startswith(f"shop.yaml: {told}")


def test_unknown_key_like_no_other_gets_no_suggestion():
    assert "zzz: unknown key (allowed: " in fault_of(zzz=1)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"window": {"lookback": "seven"}}, "window.lookback: must be an integer (got 'seven')"),
        ({"window": {"lookback": 7.0}}, "window.lookback: must be an integer (got 7.0)"),
        ({"training": {"epochs": True}}, "training.epochs: must be an integer (got True)"),
        ({"training": {"epochs": 0}}, "training.epochs: must be greater than or equal to 1 (got 0)"),
        ({"transform": {"log1p": "yes"}}, "transform.log1p: must be a boolean (got 'yes')"),
        ({"data": {"source": 3}}, "data.source: must be a string (got 3)"),
        ({"data": {"past": "price"}}, "data.past: must be a list (got 'price')"),
        ({"data": {"series": ["shop", 3]}}, "data.series[1]: must be a string (got 3)"),
        (
            {"data": {"static_source": "products.csv"}},
            "data.static_source: 'products.csv' brings static columns by series; name them in data.static, or "
            "remove it",
        ),
        ({"split": {"train": 1}}, "split.train: must be less than 1 (got 1)"),
        ({"training": {"seeds": 3}}, "training.seeds: must be a list (got 3)"),
        ({"training": {"seeds": []}}, "training.seeds: must have at least 1 item (got [])"),
        ({"training": {"seeds": [-1]}}, "training.seeds[0]: must be greater than or equal to 0 (got -1)"),
        ({"training": {"max_minutes": 0}}, "training.max_minutes: must be greater than 0 (got 0)"),
        ({"training": {"max_minutes": "2h"}}, "training.max_minutes: must be a number (got '2h')"),
        ({"training": {"max_minutes": float("nan")}}, "training.max_minutes: must be a finite number (got nan)"),
        ({"training": {"retries": 11}}, "training.retries: must be less than or equal to 10 (got 11)"),
        ({"training": {"retries": -1}}, "training.retries: must be greater than or equal to 0 (got -1)"),
        ({"training": {"retries": 1.5}}, "training.retries: must be an integer (got 1.5)"),
        (
            {"training": {"checkpoint_seconds": -0.5}},
            "training.checkpoint_seconds: must be greater than or equal to 0 (got -0.5)",
        ),
        ({"baseline": {"units": "64"}}, "baseline.units: must be an integer (got '64')"),
        ({"baseline": 3}, "baseline: expected settings, got 3"),
        ({"name": "x" * 201}, "name: must have at most 200 characters (got 201)"),
        (
            {"name": "a b"},
            "name: must be letters from A to Z, digits, '_', '.' and '-', and begin with a letter or digit (got 'a b')",
        ),
        ({"version": 2}, "version: 2 is not allowed (allowed: 1)"),
    ],
)
def test_wrong_type_or_range_is_refused_with_field_value_and_what_is_allowed(sections, told):
    assert fault_of(**sections) == f"shop.yaml: {told}"


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"task": "forcast"}, "task: 'forcast' is not allowed; did you mean 'forecast'? (allowed: 'forecast', "),
        ({"data": {"gaps": "zeros"}}, "data.gaps: 'zeros' is not allowed; did you mean 'zero'? (allowed: 'error', "),
        (
            {"data": {"aggregate": "summ"}},
            "data.aggregate: 'summ' is not allowed; did you mean 'sum'? (allowed: 'none'",
        ),
        ({"data": {"zero_runs": "masks"}}, "data.zero_runs: 'masks' is not allowed; did you mean 'mask'? (allowed: "),
        ({"transform": {"scale": "min-max"}}, "transform.scale: 'min-max' is not allowed; did you mean 'minmax'?"),
        ({"baseline": {"layer": "gru"}}, "baseline.layer: 'gru' is not allowed; did you mean 'GRU'?"),
        ({"grid": {"layer": ["GRU", "LSTN"]}}, "grid.layer[1]: 'LSTN' is not allowed; did you mean 'LSTM'?"),
        ({"search": {"strategy": "halvin"}}, "search.strategy: 'halvin' is not allowed; did you mean 'halving'?"),
    ],
)
def test_bad_literal_is_refused_with_a_near_miss(sections, told):
    assert fault_of(**sections).startswith(f"shop.yaml: {told}")


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"units": [32, "many"]}, "grid.units[1]: must be an integer (got 'many')"),
        ({"dropout": [0.1, 0.2, 1.5]}, "grid.dropout[2]: must be less than 1 (got 1.5)"),
        ([{"units": [8]}, {"lookback": [0]}], "grid[1].lookback[0]: must be greater than or equal to 1 (got 0)"),
        ({"units": 32}, "grid.units: expected a list of values, got 32; write [32]"),
        ({"units": []}, "grid.units: expected a list of values, got []; give at least one"),
        ([3], "grid[0]: expected axes with lists of values, got 3"),
        (None, "grid: expected axes with lists of values, got None"),
    ],
)
def test_bad_grid_value_is_refused_with_its_index(grid, told):
    assert fault_of(grid=grid) == f"shop.yaml: {told}"


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({"data": {"zero_runs": "mask", "exhibition": "mask"}}, ("data", "zero_runs", "exhibition")),
        ({"anomaly": {"min_steps": 1, "least": 1}}, ("anomaly", "min_steps", "least")),
        ({"anomaly": {"merge_gap": 1, "gap": 2}}, ("anomaly", "merge_gap", "gap")),
    ],
)
def test_the_new_and_the_former_name_of_a_key_are_refused_together(section, names):
    place, new, former = names
    assert fault_of(**section) == (
        f"shop.yaml: {place}: {new} and {former} are the new and the former name of one key; keep {new}"
    )


def test_every_missing_key_is_told_at_once():
    assert fault("version: 1\ndata: {source: a.csv, time: date}\nwindow: {horizon: 2}\n").splitlines() == [
        "shop.yaml: name: is missing; add it",
        "shop.yaml: data.target: is missing; add it",
        "shop.yaml: window.lookback: is missing; add it",
    ]


@pytest.mark.parametrize("text", ["", "- 1\n", "word\n"])
def test_a_file_without_keys_is_refused(text):
    assert fault(text) == "shop.yaml: expected keys such as name, data, window and grid; the file holds none"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 1\nname: a\nname: b\n", "line 3: not valid YAML: the key 'name' occurs twice; keep one of them"),
        ("grid:\n  units: [1]\n  units: [2]\n", "line 3: not valid YAML: the key 'units' occurs twice"),
        ("version: 1\nname: a: b\n", "line 2: not valid YAML: mapping values are not allowed here"),
        ("version: 1\n? [1, 2]\n: 3\n", "line 2: not valid YAML: a key must be a plain word"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1: not valid YAML: could not determine a constructor"),
    ],
)
def test_what_yaml_itself_refuses_is_told_with_its_line(text, told):
    assert fault(text).startswith(f"shop.yaml, {told}")


def test_a_key_that_is_no_text_is_refused():
    assert fault_of(training={1: 2}) == "shop.yaml: training[1]: Keys should be strings (got 1)"


def test_an_exponent_without_a_point_is_a_number():
    text = yaml.safe_dump(settings()) + "grid: {learning_rate: [1e-3, 5E-4, 1e+0]}\n"
    assert config.parse(text).grid == ({"learning_rate": (0.001, 0.0005, 1.0)},)


def test_dates_and_times_stay_text():
    text = yaml.safe_dump(settings()).replace(
        "target:", "select: {start: 2011-01-02, end: 2011-12-09 10:00:00}\n  target:"
    )
    select = config.parse(text).data.select
    assert (select.start, select.end) == ("2011-01-02", "2011-12-09 10:00:00")


@pytest.mark.parametrize(
    "sections",
    [
        {"grid": {"loss": ["mse", "mae"]}},
        {"grid": [{"loss": ["mae"]}, {"units": [8]}]},
        {"grid": [{"loss": ["mse"]}, {"units": [8]}], "baseline": {"loss": "mae"}},
    ],
)
def test_runs_with_several_losses_cannot_be_ranked_by_loss(sections):
    assert fault_of(**sections) == (
        "shop.yaml: selection.metric: best_val_loss cannot compare runs trained on different losses (mae, mse); "
        "write best_val_mae"
    )
    assert experiment(**sections, selection={"metric": "best_val_mae"}).selection.metric == "best_val_mae"


def test_one_loss_named_in_the_grid_can_be_ranked_by_loss():
    assert experiment(grid={"loss": ["huber"]}).selection.metric == "best_val_loss"


def test_a_split_that_does_not_add_up_is_refused():
    told = fault_of(split={"train": 0.8, "validation": 0.3, "test": 0.1})
    assert told == "shop.yaml: split: train + validation + test must be 1, they are 1.2"


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"split": {"folds": 2, "train": 0.8}}, "split: takes shares (train, validation, test) or folds, not both"),
        ({"split": {"horizon": 6}}, "split: horizon and expanding belong to folds; write {folds: 4, horizon: 6}"),
        (
            {"split": {"folds": 2, "horizon": 5}, "window": {"lookback": 7, "horizon": 2}},
            "split.horizon: must be a multiple of window.horizon (2), got 5",
        ),
        ({"split": {"folds": 0}}, "split.folds: must be greater than or equal to 1 (got 0)"),
        ({"mode": "lokal"}, "mode: 'lokal' is not allowed; did you mean 'local'? (allowed: 'global', 'local', 'auto')"),
        (
            {"mode": "local", "search": {"strategy": "halving"}},
            "search.strategy: halving compares runs by their losses, and with mode: local those of different series",
        ),
        (
            {"split": {"folds": 2}, "search": {"strategy": "random", "budget": {"runs": 3}}},
            "search.strategy: random compares runs by their losses, and with folds those of different series or folds",
        ),
    ],
)
def test_folds_and_modes_that_cannot_be_are_refused_with_what_to_write(sections, told):
    assert fault_of(**sections).startswith(f"shop.yaml: {told}")


def test_folds_are_as_long_as_the_horizon_unless_told():
    assert experiment(split={"folds": 3}, window={"lookback": 7, "horizon": 4}).fold_steps == 4
    assert experiment(split={"folds": 3, "horizon": 8}, window={"lookback": 7, "horizon": 4}).fold_steps == 8


def test_a_split_in_binary_fractions_adds_up():
    assert experiment(split={"train": 0.7, "validation": 0.2, "test": 0.1}).split.validation == 0.2


def test_a_missing_file_is_told_with_a_near_miss(tmp_path):
    (tmp_path / "retail.yaml").touch()
    with pytest.raises(ConfigError, match=r"retial\.yaml: no such experiment file; did you mean 'retail\.yaml'\?$"):
        config.read(tmp_path / "retial.yaml")


def test_a_file_in_another_encoding_and_a_folder_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for path, reason in ((tmp_path / "latin.yaml", "cannot be read as UTF-8 text: "), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=f"^{path}: {reason}"):
            config.read(path)


@pytest.mark.parametrize("name", sorted(path.name for path in EXPERIMENTS.glob("*.yaml")))
def test_the_projects_own_experiments_are_valid(name):
    found = config.read(EXPERIMENTS / name)
    assert found.name == name.removesuffix(".yaml").replace("_", "-")


def test_the_projects_own_experiments_are_there():
    assert {path.name for path in EXPERIMENTS.glob("*.yaml")} >= {
        "retail_daily.yaml",
        "smoke.yaml",
        "stocks_daily.yaml",
    }


def test_an_experiment_cannot_be_changed_once_read():
    with pytest.raises(ValidationError, match="frozen"):
        experiment().name = "other"


def test_how_a_run_may_be_cut_short_tried_again_and_saved():
    found = experiment(training={"max_minutes": 90, "retries": 0, "checkpoint_seconds": 0}).training
    assert (found.max_minutes, found.retries, found.checkpoint_seconds) == (90, 0, 0)
    unsaid = experiment().training
    assert (unsaid.max_minutes, unsaid.retries, unsaid.checkpoint_seconds) == (None, 2, 30)


def test_what_the_grid_leaves_unsaid_comes_from_baseline_then_window_and_training():
    found = experiment(baseline={"units": 16}, window={"lookback": 5}, training={"loss": "huber"})
    own = found.configuration(dropout=0.5)
    assert (own.units, own.lookback, own.loss, own.dropout) == (16, 5, "huber", 0.5)


PROBABILISTIC = {"task": "probabilistic"}


def test_a_probabilistic_task_has_a_scale_and_a_likelihood_of_its_own():
    found = experiment(**PROBABILISTIC)
    assert found.transform.scale == "mean-abs"
    assert found.configuration().likelihood == "student-t"
    assert experiment().configuration().likelihood is None
    assert "likelihood" not in experiment().configuration().settings()


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"baseline": {"likelihood": "gaussian"}}, "likelihood: gaussian is not supported with task: forecast; write "),
        ({"grid": {"scaling": ["centred"]}}, "scaling: centred is not supported with task: forecast; write none, mean"),
        ({"grid": {"scaling": ["mean"]}}, "scaling: mean is in units of the level, and transform.scale: minmax moves"),
        (
            {"baseline": {"scaling": "last", "lookback": 1}},
            "scaling: last needs lookback > 1 (a one-step window minus its mean is 0)",
        ),
        (PROBABILISTIC | {"baseline": {"scaling": "last"}}, "scaling: last is not supported with task: probabilistic"),
        (
            PROBABILISTIC | {"baseline": {"likelihood": "negative-binomial", "scaling": "standard"}},
            "scaling: standard moves the zero that likelihood: negative-binomial counts from; remove it, or write",
        ),
        (PROBABILISTIC | {"baseline": {"scaling": "centred"}}, "scaling: centred is not supported with task: "),
        ({"selection": {"metric": "best_val_wql"}}, "selection.metric: best_val_wql is not supported with task: f"),
        (PROBABILISTIC | {"grid": {"likelihood": ["normal"]}}, "grid.likelihood[0]: 'normal' is not allowed"),
        (PROBABILISTIC | {"grid": {"attention": [False, True]}}, "attention: true is not supported with task: proba"),
        (PROBABILISTIC | {"baseline": {"bidirectional": True}}, "bidirectional: true is not supported with task: prob"),
        (PROBABILISTIC | {"training": {"loss": "mae"}}, "loss: mae is not supported with task: probabilistic (the li"),
        (PROBABILISTIC | {"transform": {"scale": "minmax"}}, "transform.scale: minmax is not supported with task: "),
        (PROBABILISTIC | {"transform": {"log1p": True}}, "transform.log1p: true is not supported with task: prob"),
        (
            PROBABILISTIC | {"grid": {"likelihood": ["student-t", "quantile"]}},
            "selection.metric: best_val_loss cannot compare quantiles with likelihoods (quantile, student-t); write",
        ),
        (PROBABILISTIC | {"probabilistic": {"quantiles": [0.5, 0.1]}}, "probabilistic.quantiles: levels must ascend"),
        (PROBABILISTIC | {"probabilistic": {"quantiles": [0.5, 1.0]}}, "probabilistic.quantiles[1]: must be less than"),
        (PROBABILISTIC | {"probabilistic": {"paths": 1}}, "probabilistic.paths: must be greater than or equal to 2"),
        ({"training": {"steps": 0}}, "training.steps: must be greater than or equal to 1 (got 0)"),
    ],
)
def test_what_means_nothing_for_its_task_is_refused(sections, told):
    assert fault_of(**sections).startswith(f"shop.yaml: {told}")


def test_an_experiment_moves_to_other_data_and_stays_the_same_else():
    sections = {
        "data": {"select": {"start": "2023-01-05"}},
        "baseline": {"learning_rate": 1e-05},
        "grid": {"units": [4]},
    }
    text = yaml.safe_dump(settings("old.csv", **sections))
    moved = config.parse(config.with_source(text, "new/*.csv"))
    assert moved.data.source == "new/*.csv"
    back = moved.model_copy(update={"data": moved.data.model_copy(update={"source": "old.csv"})})
    assert back == config.parse(text)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"data": {"target": "flow"}}, "data.target: not supported with task: anomaly, which reads a column for each"),
        ({"window": {"horizon": 2}}, "window.horizon: 2 is not supported with task: anomaly (only the step after"),
        ({"data": {"gaps": "zero"}}, "data.gaps: zero is not supported with task: anomaly (an error on a filled"),
        (
            {"data": {"labels": None, "labelled": "omit"}},
            "data.labelled: omit needs data.labels, which say which steps; name them, or remove it",
        ),
        ({"mode": "local"}, "mode: local is not supported with task: anomaly (one network watches all sensors)"),
        ({"training": {"loss": "mae"}}, "loss: mae is not supported with task: anomaly (the score is a squared error)"),
        ({"grid": {"likelihood": ["student-t"]}}, "likelihood: student-t is not supported with task: anomaly"),
        (
            {"grid": {"scaling": ["none", "mean"]}},
            "scaling: mean is not supported with task: anomaly; write none, centred or standard",
        ),
        (
            {"baseline": {"scaling": "centred", "lookback": 1}},
            "scaling: centred needs lookback > 1 (a one-step window ",
        ),
        (
            {"baseline": {"scaling": "standard", "lookback": 1}},
            "scaling: standard needs lookback > 1 (a one-step window ",
        ),
        (
            {"grid": {"scaling": ["none", "standard"]}},
            "selection.metric: best_val_loss cannot compare errors in units of windows with others (scaling: none, "
            "standard); write val_online_varied_faults_missed",
        ),
        (
            {"anomaly": {"threshold": "running"}, "selection": {"ensemble": {"combine": "minimum"}}},
            "selection.ensemble.combine: minimum needs fixed thresholds of its members, which anomaly.threshold: "
            "running does not give; write mean, or another threshold",
        ),
        ({"anomaly": {"threshold": "quantil"}}, "anomaly.threshold: unknown name 'quantil'; did you mean 'quantile'?"),
        ({"anomaly": {"threshold": "quantile", "level": 3}}, "anomaly.level: must lie between 0 and 1 for quantile"),
        ({"anomaly": {"min_step": 3}}, "anomaly.min_step: unknown key; did you mean 'min_steps'?"),
        (
            {"grid": {"detector": ["both", "prediction"]}},
            "selection.metric: best_val_loss cannot compare detectors whose errors mean different things (both, "
            "prediction); write val_online_varied_faults_missed",
        ),
        (
            {"selection": {"metric": "best_val_wql"}},
            "selection.metric: best_val_wql is not supported with task: anomaly",
        ),
    ],
)
def test_what_means_nothing_for_sensors_is_refused(sections, told):
    assert fault(yaml.safe_dump(watching(**sections))).startswith(f"shop.yaml: {told}")


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"baseline": {"latent": 4}}, "latent: 4 is not supported with task: forecast; write task: anomaly"),
        ({"data": {"labels": "odd"}}, "data.labels: odd is not supported with task: forecast; write task: anomaly"),
        (
            {"data": {"gaps": "keep"}},
            "data.gaps: keep is not supported with task: forecast; write zero, ffill or interpolate",
        ),
        (
            {"selection": {"metric": "val_false_alarms_per_day"}},
            "selection.metric: val_false_alarms_per_day is not supported with task: forecast; write best_val_loss or "
            "best_val_mae",
        ),
    ],
)
def test_what_is_for_sensors_alone_is_refused_elsewhere(sections, told):
    assert fault_of(**sections) == f"shop.yaml: {told}"
