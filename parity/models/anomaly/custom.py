"""An anomaly score."""

import pandas as pd


def load_model(code_dir):
    return 0.5


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": [model + row for row in range(len(data))]})
