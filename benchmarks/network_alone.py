"""The network of a champion without its preprocessing, logged by MLflow's own Keras flavour, as in a hand-written loop.

    .venv/bin/python benchmarks/network_alone.py MODEL < ROWS.json

The client has to scale inputs and forecasts itself. Prints, as JSON, the `uri` of the logged network, the scaled
`inputs` of the window in the rows, and `offset` and `scale` of the series, whose target is log1p'd before scaling.
"""

from __future__ import annotations

import json
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from gridcast.runtime.network_inputs import network_inputs
from gridcast.tracking import model_loading


def main() -> None:
    """Log the network of the model named on the command line."""
    own = model_loading.load_model(sys.argv[1]).model
    table = pd.DataFrame(json.load(sys.stdin))
    asked = own.read_table(table, own.preprocessing.horizon)
    channels = own.preprocessing.channels(asked.target, asked.columns, asked.times, asked.codes).astype(np.float32)
    index = np.stack([np.arange(len(asked.codes)), asked.origin], axis=1)
    read = {
        name: np.asarray(values)
        for name, values in network_inputs(own.preprocessing, channels, index, asked.codes).items()
    }
    mlflow.set_experiment("by hand")
    with mlflow.start_run():
        signature = infer_signature(read, own.network.predict(read, verbose=0))
        logged = mlflow.keras.log_model(own.network, name="network", signature=signature)
    scaler, code = own.preprocessing.target_scaler, asked.codes[0]
    description = {
        "uri": logged.model_uri,
        "inputs": {name: values.tolist() for name, values in read.items()},
        "offset": float(scaler.offset[code]),
        "scale": float(scaler.scale[code]),
    }
    print(json.dumps(description))


if __name__ == "__main__":
    main()
