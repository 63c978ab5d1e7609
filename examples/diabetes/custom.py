"""A linear regression on the diabetes data of scikit-learn.

The artifact is JSON, not a pickle: a pickle is tied to the scikit-learn version that wrote it and executes code when
it is loaded. Coefficients are numbers that every version accepts.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression


def load_model(code_dir):
    saved = json.loads(Path(code_dir, "model.json").read_text())
    model = LinearRegression()
    model.feature_names_in_ = np.array(saved["features"], dtype=object)
    model.n_features_in_ = len(saved["features"])
    model.coef_ = np.array(saved["coefficients"])
    model.intercept_ = saved["intercept"]
    return model


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": model.predict(data[model.feature_names_in_])})
