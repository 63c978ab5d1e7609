"""The sum of the numbers in each row."""

import numpy as np
import pandas as pd


def load_model(code_dir):
    return np.sum


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": model(np.asarray(data.select_dtypes("number")), axis=1)})
