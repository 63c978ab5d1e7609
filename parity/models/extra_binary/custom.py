"""Probabilities and an extra column, not in label order."""

import pandas as pd


def load_model(code_dir):
    return "model"


def score(data, model, **kwargs):
    rows = len(data)
    return pd.DataFrame({"reason": ["because"] * rows, "no": [0.25] * rows, "yes": [0.75] * rows})
