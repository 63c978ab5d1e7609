"""Integers in a column that is not named Predictions, and an init hook."""

import pandas as pd

calls = []


def init(code_dir):
    calls.append(code_dir)


def load_model(code_dir):
    return calls


def score(data, model, **kwargs):
    return pd.DataFrame({"length of stay": [len(model)] * len(data)})
