"""Parses the data itself, whatever its type."""

import pandas as pd


def load_model(code_dir):
    return len


def read_input_data(input_binary_data):
    return pd.DataFrame({"length": [len(line) for line in input_binary_data.splitlines()]})


def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": data["length"].astype(float)})
