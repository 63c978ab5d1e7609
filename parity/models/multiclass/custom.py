"""Three labels, with the columns in another order."""

import pandas as pd


def load_model(code_dir):
    return {"c": 0.5, "a": 0.25, "b": 0.25}


def score(data, model, **kwargs):
    return pd.DataFrame([model] * len(data))
