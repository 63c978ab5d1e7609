"""Reads runtime parameters of all types."""

import pandas as pd
from datarobot_drum import RuntimeParameters

NAMES = ("GREETING", "FLAG", "NUMBER", "KEY", "NOT_THERE")


def load_model(code_dir):
    return [f"{name} {RuntimeParameters.get(name) if RuntimeParameters.has(name) else 'not set'!r}" for name in NAMES]


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": range(len(data)), "parameter": (model * len(data))[: len(data)]})
