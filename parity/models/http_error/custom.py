"""Responds with a status of its own."""

import pandas as pd
from datarobot_drum import CustomHTTPError


def load_model(code_dir):
    return "model"


def score(data, model, **kwargs):
    status = int(data["status"].iloc[0])
    if status == 200:
        return pd.DataFrame({"Predictions": [1.0]})
    raise CustomHTTPError("not today") if status == 0 else CustomHTTPError("not today", status_code=status)
