

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

    From a table to a forecast, in a minute: a small grid of networks is trained, recorded in MLflow, and compared with
    baselines on days that no network has seen. Run the cells from the top. Stop when you like: what is finished is not
    trained again.
    """)
    return


@app.cell
def _():
    import os
    from pathlib import Path

    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd

    import gridcast

    # JupyterLab works in the folder of the notebook; MLflow's records are in that of the project.
    if Path.cwd().name == "notebooks":
        os.chdir("..")
    return gridcast, np, pd, plt


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The table

    Three products whose sales have a weekly rhythm, a trend, and noise. Yours may come from a file:
    `pd.read_csv("sales.csv")`.
    """)
    return


@app.cell
def _(np, pd):
    DAYS = pd.date_range("2024-01-01", periods=300)
    random = np.random.default_rng(0)
    week = np.array([0.9, 1.0, 1.0, 1.1, 1.3, 1.6, 0.6])[DAYS.day_of_week]
    sales = {
        product: level * week * (1 + np.arange(len(DAYS)) / 600) + random.normal(scale=level / 10, size=len(DAYS))
        for product, level in {"apple": 40, "pear": 25, "plum": 10}.items()
    }
    frame = pd.DataFrame(sales, index=DAYS.rename("date")).melt(
        ignore_index=False, var_name="product", value_name="quantity"
    )
    frame = frame.reset_index()
    frame.head()
    return (frame,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The experiment

    The content of an experiment file: which column is what, how far the networks look back and ahead, and the grid.
    Before anything is trained, `validate` reads the table and cuts it into spans.
    """)
    return


@app.cell
def _(frame, gridcast):
    experiment = {
        "version": 1,
        "name": "tour",
        "data": {"time": "date", "series": "product", "target": "quantity"},
        "window": {"lookback": 14, "horizon": 7},
        "transform": {"scale": "standard"},
        "baseline": {"units": 16},
        "grid": {"learning_rate": [0.01, 0.003], "dropout": [0.0, 0.2]},
        "training": {"epochs": 15, "patience": 5},
        "selection": {"promote_to": "tour", "when_beaten": "warn"},
    }
    plan = gridcast.validate(experiment, data=frame)
    {"series": plan.panel.series, "steps": len(plan.panel.times), "runs": len(plan.runs), "notes": plan.panel.notes}
    return (experiment,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The sweep
    """)
    return


@app.cell
def _(experiment, frame, gridcast):
    sweep = gridcast.run(experiment, data=frame)
    sweep.verdict
    return (sweep,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    Every run with the settings that vary, best first. Losses are measured on the validation span in scaled units;
    `best_val_mae` is in data units.
    """)
    return


@app.cell
def _(sweep):
    leaderboard = sweep.leaderboard()
    leaderboard
    return (leaderboard,)


@app.cell
def _(sweep):
    interactions = sweep.plot("interactions")
    interactions
    return (interactions,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## A forecast

    The winner is the champion of the registered model `tour` now; any process can load it. Fourteen steps ahead, in
    data units: steps beyond the trained horizon are forecast from earlier forecasts and marked `rolled_forward`.
    """)
    return


@app.cell
def _(frame, gridcast):
    champion = gridcast.load("models:/tour@champion")
    forecast = champion.predict(frame, horizon=14)
    forecast
    return (forecast,)


@app.cell
def _(forecast, frame, plt):
    past = frame[frame["product"] == "apple"].tail(60)
    ahead = forecast[forecast["product"] == "apple"]
    _, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    axes.plot(past["date"], past["quantity"], color="tab:gray", label="history")
    axes.plot(ahead["date"], ahead["forecast"], color="tab:blue", marker=".", label="forecast")
    axes.set(title="product apple", ylabel="quantity")
    axes.tick_params("x", rotation=30)
    axes.legend()
    axes
    return (axes,)


if __name__ == "__main__":
    app.run()
