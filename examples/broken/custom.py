"""A model that fails to load until its weights exist: try it, read the reason, repair it, restart."""

from pathlib import Path

import pandas as pd


def load_model(code_dir):
    weights = Path(code_dir, "weights.txt")
    if not weights.exists():
        raise FileNotFoundError(f"The weights are missing. Repair it with: echo 42 > {weights}")
    return float(weights.read_text())


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": [model] * len(data)})
