"""NaN and infinities among the predictions."""

import pandas as pd


def load_model(code_dir):
    return [1.5, float("nan"), float("inf"), -float("inf")]


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": [model[row % len(model)] for row in range(len(data))]})
