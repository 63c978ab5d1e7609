"""The labels are 1 and 0, the columns are numbers."""

import pandas as pd


def load_model(code_dir):
    return 0.75


def score(data, model, **kwargs):
    return pd.DataFrame({1: [model] * len(data), 0: [1 - model] * len(data)})
