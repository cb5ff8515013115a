

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

    What a sweep leaves in MLflow: a champion that forecasts, and all the runs that it won against. First
    train one, `make grid EXPERIMENT=experiments/smoke.yaml`; then run the cells from the top. Another model
    and another table are asked for in the environment: `GRIDCAST_MODEL`, `GRIDCAST_HISTORY`, `MLFLOW_TRACKING_URI`.
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
    return HISTORY, MODEL, PROJECT, STORE, keras_backend, prediction_files, mlflow, model_loading, plt


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The champion

    The alias `champion` points to the version that passed the gates. It brings its preprocessing along:
    what its table must look like, how far back it reads, which series it knows.
    """)
    return


@app.cell
def _(MODEL, PROJECT, STORE, keras_backend, model_loading):
    keras_backend.start("jax", PROJECT / ".gridcast")
    champion = model_loading.load_model(f"models:/{MODEL}@champion", STORE)
    own = champion.model.preprocessing
    {
        "version": champion.reference.version,
        "columns": [*own.keys, own.time, own.target, *own.columns],
        "lookback": own.lookback,
        "horizon": own.horizon,
        "series": own.series,
    }
    return champion, own


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## A forecast

    Fourteen steps ahead, in the units of the data. Steps beyond the trained horizon are forecast from
    forecasts, and marked as `rolled_forward`.
    """)
    return


@app.cell
def _(HISTORY, champion, history, own):
    KEY = own.keys[0]
    table = history.read(HISTORY, own)
    table = table[table[KEY].isin(own.series)]
    forecast = champion.predict(table, horizon=14)
    forecast
    return KEY, forecast, table


@app.cell
def _(KEY, forecast, own, plt, table):
    SERIES = own.series[0]
    past = table[table[KEY] == SERIES].sort_values(own.time).tail(60)
    ahead = forecast[forecast[KEY] == SERIES]
    _, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    axes.plot(past[own.time], past[own.target], color="tab:gray", label="history")
    axes.plot(ahead[own.time], ahead["forecast"], color="tab:blue", marker=".", label="forecast")
    axes.set(title=f"{KEY} {SERIES}", ylabel=own.target)
    axes.tick_params("x", rotation=30)
    axes.legend()
    axes
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The sweep

    Every run of the experiment with what varied among them, best first. Losses are those of the validation
    span, in scaled units; `best_val_mae` is one of the data.
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
    measures = runs.filter(regex=r"metrics\.(best_val_loss|best_val_mae|epochs_trained|fit_seconds)")
    leaderboard = settings.join(measures).rename(columns=lambda name: name.split(".", 1)[1])
    leaderboard
    return (leaderboard,)


@app.cell
def _(leaderboard, plt):
    _, cost = plt.subplots(figsize=(9, 3), layout="constrained")
    cost.scatter(leaderboard["fit_seconds"], leaderboard["best_val_loss"])
    cost.set(xlabel="seconds of training", ylabel="best validation loss", title="What better runs cost")
    cost
    return


if __name__ == "__main__":
    app.run()
