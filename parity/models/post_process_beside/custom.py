"""post_process changes the probabilities while score returns an extra column."""

import pandas as pd


def load_model(code_dir):
    return 0.25


def score(data, model, **kwargs):
    rows = len(data)
    return pd.DataFrame({"yes": [model] * rows, "reason": ["because"] * rows, "no": [1 - model] * rows})


def post_process(predictions, model):
    return 1 - predictions[["yes", "no"]]
