"""Predictions and extra columns of several types."""

import pandas as pd


def load_model(code_dir):
    return "model"


def score(data, model, **kwargs):
    rows = range(len(data))
    return pd.DataFrame(
        {
            "Predictions": [row / 2 for row in rows],
            "text": [f"row {row}" for row in rows],
            "count": list(rows),
            "share": [None if row else 0.5 for row in rows],
            "good": [row % 2 == 0 for row in rows],
        }
    )
