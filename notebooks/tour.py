

import marimo


__generated_with = "0.25.2"
app = marimo.App(app_title="A tour of a sweep")


@app.cell(hide_code=True)
def _():
    import marimo as mo

    return (mo,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    # A tour of a sweep

    A sweep leaves two things in MLflow: a champion that forecasts, and all the runs that it was compared with.
    Train one first (`make grid EXPERIMENT=experiments/smoke.yaml`), then run the cells from the top. To see another
    model or another table, set `GRIDCAST_MODEL`, `GRIDCAST_HISTORY` or `MLFLOW_TRACKING_URI` in the environment.
    """)
    return


@app.cell
def _():
    import os
    from pathlib import Path

    import matplotlib.pyplot as plt
    import mlflow

    from gridcast.data import prediction_files
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    # JupyterLab works in the folder of the notebook, marimo where it was started.
    PROJECT = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
    STORE = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{PROJECT / 'mlflow.db'}")
    MODEL = os.environ.get("GRIDCAST_MODEL", "smoke")
    HISTORY = Path(os.environ.get("GRIDCAST_HISTORY", PROJECT / "data" / "online-retail.parquet"))
    return (
        HISTORY,
        MODEL,
        PROJECT,
        STORE,
        keras_backend,
        mlflow,
        model_loading,
        plt,
        prediction_files,
    )


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The champion

    The alias `champion` points to the version that passed the gates. The model carries its preprocessing: which
    columns its table needs, how far back it reads, which series it knows.
    """)
    return


@app.cell
def _(MODEL, PROJECT, STORE, keras_backend, model_loading):
    keras_backend.start("jax", PROJECT / ".gridcast")
    champion = model_loading.load_model(f"models:/{MODEL}@champion", STORE)
    preprocessing = champion.model.preprocessing
    {
        "version": champion.reference.version,
        "columns": [*preprocessing.keys, preprocessing.time, preprocessing.target, *preprocessing.columns],
        "lookback": preprocessing.lookback,
        "horizon": preprocessing.horizon,
        "series": preprocessing.series,
    }
    return champion, preprocessing


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## A forecast

    Fourteen steps ahead, in data units. Steps beyond the trained horizon are forecast from earlier forecasts and
    marked `rolled_forward`.
    """)
    return


@app.cell
def _(HISTORY, champion, prediction_files, preprocessing):
    KEY = preprocessing.keys[0]
    history = prediction_files.read_series_table(HISTORY, preprocessing)
    history = history[history[KEY].isin(preprocessing.series)]
    forecast = champion.predict(history, horizon=14)
    forecast
    return KEY, forecast, history


@app.cell
def _(KEY, forecast, history, plt, preprocessing):
    SERIES = preprocessing.series[0]
    past = history[history[KEY] == SERIES].sort_values(preprocessing.time).tail(60)
    ahead = forecast[forecast[KEY] == SERIES]
    _, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    axes.plot(past[preprocessing.time], past[preprocessing.target], color="tab:gray", label="history")
    axes.plot(ahead[preprocessing.time], ahead["forecast"], color="tab:blue", marker=".", label="forecast")
    axes.set(title=f"{KEY} {SERIES}", ylabel=preprocessing.target)
    axes.tick_params("x", rotation=30)
    axes.legend()
    axes
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The sweep

    Every run of the experiment with the settings that vary, best first. Losses are measured on the validation span in
    scaled units; `best_val_mae` is in data units.
    """)
    return


@app.cell
def _(STORE, champion, mlflow):
    mlflow.set_tracking_uri(STORE)
    experiment = mlflow.get_run(champion.reference.run_id).info.experiment_id
    runs = mlflow.search_runs(
        [experiment],
        filter_string="tags.`gridcast.kind` = 'run' and attributes.status = 'FINISHED'",
        order_by=["metrics.best_val_loss"],
    )
    settings = runs.filter(like="params.")
    settings = settings.loc[:, settings.nunique() > 1]
    metrics = runs.filter(regex=r"metrics\.(best_val_loss|best_val_mae|epochs_trained|fit_seconds)")
    leaderboard = settings.join(metrics).rename(columns=lambda name: name.split(".", 1)[1])
    leaderboard
    return (leaderboard,)


@app.cell
def _(leaderboard, plt):
    _, cost = plt.subplots(figsize=(9, 3), layout="constrained")
    cost.scatter(leaderboard["fit_seconds"], leaderboard["best_val_loss"])
    cost.set(xlabel="training time (seconds)", ylabel="best validation loss", title="Quality against training time")
    cost
    return


if __name__ == "__main__":
    app.run()
