"""post_process adds a column to the probabilities."""

import pandas as pd


def load_model(code_dir):
    return 0.25


def score(data, model, **kwargs):
    return pd.DataFrame({"yes": [model] * len(data), "no": [1 - model] * len(data)})


def post_process(predictions, model):
    return predictions.assign(threshold=0.5)
