import pandas as pd

import gridcast

frame = pd.read_csv("sales.csv")  # one row per day and product
experiment = {
    "version": 1, "name": "quickstart", "window": {"lookback": 7, "horizon": 7},
    "data": {"time": "date", "series": "product", "target": "quantity"},
    "grid": {"learning_rate": [0.01, 0.001], "dropout": [0.0, 0.2]},
}
sweep = gridcast.run(experiment, data=frame)
print(sweep.leaderboard()[["name", "best_val_mae"]])
sweep.plot("interactions").savefig("interactions.png")
print(sweep.forecaster.predict(frame, horizon=7))
