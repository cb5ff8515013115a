"""The meaning of each key of an experiment file, by section: JSON schema and documentation take it from here."""

from __future__ import annotations

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "Experiment": {
        "version": "Version of the format of this file.",
        "name": "Name of the experiment, in MLflow too. Letters from A to Z, digits, `_`, `.` and `-`.",
        "data": "The tables, the meaning of their columns, and how they are written.",
        "task": (
            "`forecast`: one number for each step ahead. `probabilistic`: an autoregressive network with a likelihood, "
            "or quantile regression. `anomaly`: detect anomalous steps in sensors."
        ),
        "mode": (
            "`global`: one network for all series. `local`: the whole grid for each series, and one forecaster that "
            "routes to the best. `auto`: for each series the global network, its own network or a naive baseline, "
            "whichever has the lowest error on the validation span."
        ),
        "window": "Steps that a network reads and forecasts.",
        "split": (
            "Shares of the time axis for training, validation and test, in this order; or rolling origins, such as "
            "`{folds: 4, horizon: 6}`, with the last horizon kept for the test."
        ),
        "transform": "Scaling of the target, for each series by its training span.",
        "baseline": (
            "The settings you would have guessed: they are compared too, and apply wherever the grid sets none."
        ),
        "baselines": (
            "`auto`, or names of some: the naive ones, ETS, Theta, ridge, trees, Croston, TSB, AutoARIMA, Prophet; for "
            "detectors PCA, z-score, rolling median, isolation forest. `auto` takes those that suit the data."
        ),
        "grid": (
            "Axes with lists of values, of which every combination is trained; or a list of such grids. For `random`, "
            "`tpe` and `asha` numbers may be ranges: `{low: 1e-4, high: 1e-2, log: true}`, `{low: 16, high: 128, step: "
            "16}`."
        ),
        "training": "How long, how often and with which engine each configuration is trained.",
        "probabilistic": "The output of `task: probabilistic`.",
        "anomaly": "The rule for anomalous steps and events of `task: anomaly`.",
        "search": "The search strategy, its budget, and the confirmation of the leading configurations.",
        "selection": "How the winner is chosen, and when it becomes champion.",
    },
    "Data": {
        "source": (
            "A built-in set (`online-retail`, `daily-stocks`, `met-mast`), or tables: a path or pattern of "
            "CSV, Excel or "
            "Parquet files (`.gz`, `.xz`, `.zip` too), an address that fsspec opens, or a database (`postgresql://…`, "
            "`sqlite:///…`) with `query`. Paths are relative to this file, then to the working directory."
        ),
        "time": "Column of the time stamps.",
        "series": "Column, or columns, that distinguish the series; left out, the table is a single one.",
        "target": "Column of the values to forecast.",
        "sensors": "Columns that a detector watches, each a series; left out or empty, all columns of numbers.",
        "labels": (
            "Column with 1 where a step is anomalous, or a JSON file of intervals by table; only the test reads it, "
            "unless `labelled: omit`."
        ),
        "labelled": "`omit` leaves labelled steps out of training, `learn` learns them as if they were normal.",
        "past": (
            "Covariates known up to the origin of a forecast. Each is read within half its training range beyond that "
            "range; one that is constant in training in every series is read as 0."
        ),
        "future": (
            "Covariates known ahead: columns, or features of the stamps such as `day_of_week`, `month`, `hour`, "
            "`fourier:365.25:3`, `trend`, `holidays:GB`, `events:promotions.csv`, `between:2023-09-10:2023-11-02`."
        ),
        "static": "Columns of categories, each the same in all rows of a series.",
        "static_source": "CSV file with the categories of each series, if the table does not have them.",
        "frequency": "The step, such as `15min`, `h`, `D`, `B`, `W`, `M`, `Q`; left out, the stamps show it.",
        "period": "Steps of the season, for the seasonal baselines; left out, it is found in the training span.",
        "calendar": (
            "Which steps there are: every one (`regular`), those at the open times of the week (`trading`; closed days "
            "are no steps), or those that the table has (`observed`); left out, the stamps decide."
        ),
        "time_zone": (
            "Such as `Europe/Berlin`: the zone of stamps without an offset from UTC, and of days and "
            "hours. Steps finer "
            "than a day are counted in UTC, with local hours as covariates."
        ),
        "gaps": (
            "Missing steps: `error`; `zero` (nothing recorded means that nothing happened: forecast and scored); "
            "`ffill`, `interpolate` (used as inputs, never forecast or scored; inputs never end inside an interpolated "
            "gap, because its values depend on what comes after); `keep`, for detectors."
        ),
        "repeated": "Several rows with the same series and time: `error`, or the `first` or the `last` counts.",
        "aggregate": "Combine rows finer than `frequency` into one for each period: the target by this rule.",
        "zero_runs": (
            "Runs of zeros far longer than usual for a series, such as a product out of stock: `mask` "
            "leaves them out of "
            "training and validation, `feature` marks them in an input channel."
        ),
        "dates": "Order of dates such as 01/02/2021, where the table does not show it.",
        "time_unit": "Unit of time stamps that are numbers: since 1970, or days as `excel` counts them.",
        "decimal": "Sign before decimals, where the table does not show it.",
        "thousands": "Sign between thousands, where the table does not show it.",
        "missing": "Words and numbers that mean `no reading`, such as `[-9999, Bad Input]`.",
        "blanks": (
            "What an empty covariate means, in training and in use: `error`, `zero`, or the value before (`ffill`)."
        ),
        "encoding": "Encoding of CSV files, such as `windows-1252`; left out, it is found.",
        "separator": "Sign between the fields of CSV files; left out, it is found.",
        "skip": "Lines before the header.",
        "sheet": "Sheet of an Excel file, by name or number.",
        "query": "SQL that gives the rows of a database.",
        "wide": 'A table with a column for each period (`{columns: "d_*"}`) or for each series (`{time: date}`).',
        "pivot": "A table with a row for each reading of a sensor, such as `{names: tag, values: value}`.",
        "constant": "Series that never change in the training span are kept or dropped.",
        "short": "Series too short for their windows, or that end before the test span: `error`, or `drop` them.",
        "select": "The part of the data that is used.",
    },
    "Select": {
        "top": "That many series, those with the largest totals over the training span.",
        "only": "The series with these ids.",
        "start": "First date or stamp; a date stands for its whole day.",
        "end": "Last date or stamp; a date stands for its whole day.",
    },
    "Wide": {
        "columns": "The columns that become rows, by name or pattern; left out, all that are not named elsewhere.",
        "time": "`columns` where the names of the columns are the periods, else the column of the stamps.",
        "start": "The first period, where columns only number them, such as d_1.",
    },
    "Pivot": {
        "names": "Column of the names that become columns.",
        "values": "Column of their values.",
    },
    "Window": {
        "lookback": "Steps that a network reads.",
        "horizon": "Steps that it forecasts.",
        "stride": "Steps between one origin and the next.",
    },
    "Split": {
        "train": "Share of the time axis for training.",
        "validation": "Share for early stopping and for the choice of the winner.",
        "test": "Share that is evaluated once, in the end.",
        "folds": "Number of rolling origins, in place of shares.",
        "horizon": "Steps of each fold's validation, and of the test span; default: those of the window.",
        "expanding": "Folds train on all steps before; otherwise on as many as the first one.",
    },
    "Transform": {
        "log1p": "Take log(1 + target) before scaling: for counts that vary by orders of magnitude.",
        "scale": "How the target is scaled.",
        "floor": (
            "`zero`: forecasts and quantiles below 0 are 0 if no value before the test span is negative, as of sales "
            "and counts. `none`: they stay, as for temperatures."
        ),
    },
    "Configuration": {
        "layer": (
            "GRU, LSTM, linear or nhits (docs/reference/networks.md), or a network of your own "
            "(docs/how-to/plug-ins.md)."
        ),
        "bidirectional": "Read windows in both directions; of GRU and LSTM only.",
        "attention": "Weigh the steps of a window; of GRU and LSTM only.",
        "layers": "Number of recurrent layers; of nhits, the blocks of each stack. linear has one.",
        "units": "Size of each layer; of `linear`, that of the layer for covariates that are known ahead.",
        "dropout": "Share of values that training leaves out.",
        "learning_rate": "Step of the optimizer.",
        "batch_size": "Windows of a training step.",
        "lookback": "Steps that a network reads; default: those of the window.",
        "optimizer": "Optimizer of Keras, by name or with its settings: `{name: adamw, weight_decay: 0.01}`.",
        "loss": "Error that training reduces, a loss of Keras, by name or with its settings.",
        "epochs": "Epochs at most; default: those of `training`.",
        "likelihood": "Of `task: probabilistic`: distribution of each step, or `quantile` regression.",
        "scaling": (
            "How windows are read. Forecasts of points: `none`, `mean` (in units of their level), `last` (as changes "
            "from their last value, for trends), or `standard` (around their mean, in units of their spread). "
            "Probabilistic: `standard` or `mean`. Detectors: `none`, `centred` (levels may drift), or `standard` "
            "(volatility too)."
        ),
        "detector": "What a detector scores a window by: `reconstruction`, `prediction`, `both`, or `encoding`.",
        "latent": "Number of values between encoder and decoder of a detector.",
    },
    "Training": {
        "epochs": "Epochs at most.",
        "steps": "Batches of an epoch at most: it is then a fresh random part of the windows.",
        "callbacks": "Keras callbacks of your own, by name (docs/how-to/plug-ins.md); they need stock Keras.",
        "patience": "Epochs without improvement after which a run stops.",
        "decay": "`cosine`: the learning rate falls to zero over all epochs.",
        "loss": "Error that training reduces, where the configuration names none.",
        "seeds": "Each configuration is trained once with each of them.",
        "engine": "`fused`: whole epochs as one compiled program, on JAX. `stock`: Keras's own loop.",
        "max_minutes": "Training time that one run may take.",
        "retries": "How often a run is tried again after its worker died.",
        "checkpoint_seconds": "Seconds between two checkpoints of a run; 0: after each epoch.",
        "refit": "Train the winner once more, on training and validation span together, and promote that model.",
    },
    "Probabilistic": {
        "quantiles": "Levels that are forecast, ascending.",
        "paths": "Number of sampled paths.",
        "conformal": "Fit a correction on the validation span, so that quantiles cover as often as they state there.",
    },
    "Anomaly": {
        "threshold": (
            "Rule of the threshold: `mean-std`, `lognormal`, `conformal`, `quantile`, "
            "`peaks-over-threshold`, `running`, "
            "..."
        ),
        "level": "Deviations, or the share of false alarms; default: 3 deviations, or a share of 0.001.",
        "false_alarms": (
            "How many are promised, such as `1 per week` (hour, day, week, month, year): the threshold is set so, in "
            "place of `level`, and the report says how far the validation span shows it."
        ),
        "min_steps": "Anomalous steps that make an event.",
        "merge_gap": (
            "Events at most that many steps apart are merged; default: 0, with `false_alarms` the steps of a window."
        ),
    },
    "Search": {
        "strategy": (
            "`grid`: all of it. `halving`: all runs begin, the best go on. `random`, `tpe`: as many runs as the "
            "`budget` allows. `asha`: as many, most of which are stopped early."
        ),
        "budget": "Limit of `random`, `tpe` and `asha`.",
        "reduction": "Of `halving`: at each rung, one run in this many continues.",
        "rungs": "Of `halving`: number of rungs, the last one at the end of training.",
        "seed": "Seed of the sampler.",
        "confirm": (
            "`{top: 5, seeds: 4}`: the 5 configurations with the best means are trained with further seeds, until each "
            "has 4; the best mean wins, and its best seed on validation is the model. Left out, `grid` and `halving` "
            "confirm as many, up to 5, as take at most a tenth of the epochs of the sweep, and none if that is fewer "
            "than two (a grid of one seed needs 60 runs); `gridcast plan` shows the cost. `none` switches it off. With "
            "`mode: local` and `auto` there is none."
        ),
    },
    "Budget": {
        "runs": "Number of runs in all.",
        "minutes": "Minutes at each start.",
    },
    "Confirm": {
        "top": "Number of configurations.",
        "seeds": "Seeds that each of them has in the end.",
    },
    "Selection": {
        "metric": (
            "Metric of the validation span that decides: `best_val_loss`, `best_val_mae`, `best_val_wql` (of "
            "quantiles), `val_mase`, `val_msse`, `val_msle`, `val_wape`, `val_rmse`, `val_mape`, `val_smape` or, the "
            "higher the better, `val_r2` and `val_share_within_10` (percent of the forecasts within 90 to 110 % of "
            "the actual value; also 5 and 20), or one of your own (docs/how-to/plug-ins.md). Detectors: "
            "`best_val_loss`, or `val_online_varied_faults_missed`, the injected faults of many kinds, sizes and "
            "lengths that live scores miss, `val_online_faults_missed`, of short faults in one sensor each; "
            "`val_faults_missed` is the same in "
            "hindsight."
        ),
        "promote_to": "Name in the model registry; left out, nothing is promoted.",
        "margin": (
            "Share by which the winner must beat each naive baseline (default 0) and the champion (default 0.01)."
        ),
        "when_beaten": "What happens to a winner that a naive baseline beats.",
        "contenders": "Who may win: the networks of the grid, or the baselines too.",
        "ensemble": "Combine the best runs into one model.",
        "relevant": "Share of an error below which the report calls a difference none.",
    },
    "Ensemble": {
        "top": "Number of runs.",
        "combine": (
            "How their outputs are combined: `weighted` by 1 / validation error, `greedy` with the weights that are "
            "best on the validation span, `minimum` for detectors."
        ),
    },
}
