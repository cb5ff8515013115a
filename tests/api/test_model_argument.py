"""One way to name a model: a registered name, an MLflow URI, or an experiment file."""

import sys

import pytest
import yaml

from gridcast import cli
from gridcast.api import experiments, model_argument
from gridcast.runtime.errors import ConfigError, TrackingError, UnknownModel
from gridcast.tracking import mlflow_runs, run_recording
from gridcast.tracking.store import open_store
from small_experiments import sales, settings, write_experiment

WAYS = "a model is a registered name (retail-daily), an MLflow URI"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with an experiment `small`, its sweep in MLflow, and a run of it that is champion of `shop`."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        sales(60).to_csv("sales.csv", index=False)
        write_experiment(folder / "small.yaml", "sales.csv", selection={"promote_to": "shop"})
        text = yaml.safe_dump(settings("sales.csv", selection={"promote_to": "shop"}), sort_keys=False)
        store = open_store("small", f"sqlite:///{folder}/mlflow.db")
        texts = {"experiment.yaml": text, "sweep.json": '{"spans": {}}'}
        sweep_id = mlflow_runs.open_sweep(store, mlflow_runs.SweepEntry("s1", "small", artifact_texts=texts))
        run_id = run_recording.record_run(store, sweep_id, run_recording.RunEntry("GRU", "run", "k1"))
        store.client.create_registered_model("shop")
        store.client.create_model_version("shop", f"runs:/{run_id}/model", run_id)
        store.client.set_registered_model_alias("shop", "champion", "1")
    return folder, run_id


@pytest.fixture
def run_id(project, monkeypatch):
    """Its run, in its folder."""
    monkeypatch.chdir(project[0])
    # An absolute address: MLflow keeps the file that it opened for a relative one, whatever the folder is later.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project[0]}/mlflow.db")
    return project[1]


def test_all_three_ways_lead_to_the_champion(run_id):
    for argument in ("shop", "models:/shop@champion", "models:/shop", "models:/shop/1", "small.yaml"):
        found = model_argument.find_model(argument)
        assert (found.name, found.version, found.run_id) == ("shop", "1", run_id)
    assert model_argument.find_model(f"runs:/{run_id}/model").run_id == run_id


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("run:/abc/model", f"'run:/abc/model' does not name a model; did you mean 'runs:/abc/model'? {WAYS}"),
        ("model:/shop@champion", "'model:/shop@champion' does not name a model; did you mean 'models:/shop@champion'?"),
        ("s3:/bucket", f"'s3:/bucket' does not name a model; {WAYS}"),
        ("runs:/", f"'runs:/' does not name a model; {WAYS}"),
        ("", f"'' does not name a model; {WAYS}"),
        ("smal.yaml", "smal.yaml: no such experiment file; did you mean 'small.yaml'?"),
    ],
)
def test_what_names_no_model_is_refused_with_the_three_ways(run_id, argument, message):
    with pytest.raises(ConfigError) as refused:
        model_argument.find_model(argument)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("shpo", f"no registered model 'shpo'; did you mean 'shop'? {WAYS}"),
        ("small", "no registered model 'small' (there are: shop); did you mean 'small.yaml'? "),
        ("zzz", f"no registered model 'zzz' (there are: shop); {WAYS}"),
    ],
)
def test_an_unknown_name_is_refused_with_a_near_miss_and_the_three_ways(run_id, argument, message):
    with pytest.raises(UnknownModel) as refused:
        model_argument.find_model(argument)
    assert message in str(refused.value)
    assert refused.value.exit_code == 2


def test_verbs_for_champions_take_every_name_of_one():
    for argument in ("shop", "shop@champion", "models:/shop", "models:/shop@champion"):
        assert model_argument.registered_name(argument, "serve") == "shop"


def test_verbs_for_champions_take_an_experiment_file(run_id, tmp_path):
    assert model_argument.registered_name("small.yaml", "rollback") == "shop"
    path = write_experiment(tmp_path / "unregistered.yaml")
    with pytest.raises(ConfigError, match="selection.promote_to: is missing, so the experiment registers no model"):
        model_argument.registered_name(str(path), "rollback")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("runs:/abc/model", "'runs:/abc/model' is one run, and `gridcast serve` works on the champion of a registered"),
        ("models:/shop/3", "'models:/shop/3' is one version of a model, and `gridcast serve` works on the champion of"),
        ("shop@challenger", "'shop@challenger' is one version of a model, and `gridcast serve`"),
        ("models:/m-0123", "'models:/m-0123' is one version of a model"),
    ],
)
def test_verbs_for_champions_refuse_runs_and_versions(argument, message):
    with pytest.raises(ConfigError) as refused:
        model_argument.registered_name(argument, "serve")
    assert str(refused.value).startswith(message)


def test_a_report_takes_every_name_of_an_experiment_or_a_model_of_it(run_id):
    for argument in ("small", "small.yaml", "shop", "models:/shop@champion", "models:/shop/1", f"runs:/{run_id}/model"):
        name, store = experiments.find_experiment_store(argument)
        assert name == "small"
        assert store.client.get_experiment(store.experiment).name == "small"
    with pytest.raises(TrackingError, match=r"no MLflow experiment 'smll'; did you mean 'small'\?$"):
        experiments.find_experiment_store("smll")


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["gridcast", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().err


def test_promote_takes_the_experiment_of_a_registered_model_and_refuses_a_run(run_id, monkeypatch, capsys):
    for argument in ("small.yaml", "shop", "models:/shop@champion"):
        code, err = command(monkeypatch, capsys, "promote", argument)
        assert (code, err.partition(" on these data")[0]) == (1, f"error: no run of {argument}")
    code, err = command(monkeypatch, capsys, "promote", f"runs:/{run_id}/model")
    assert code == 2
    assert "is one run, and `gridcast promote` promotes the best run of an experiment" in err


@pytest.mark.parametrize("verb", ["rollback", "serve", "detect", "recalibrate"])
def test_the_verbs_that_need_a_registered_model_say_so(run_id, verb, monkeypatch, capsys):
    words = {"detect": ["--follow", "."], "recalibrate": ["sales.csv"]}.get(verb, [])
    code, err = command(monkeypatch, capsys, verb, f"runs:/{run_id}/model", *words)
    assert code == 2
    assert f"is one run, and `gridcast {verb}` works on the champion of a registered model" in err
