"""Only the positive class, by name."""

import pandas as pd


def load_model(code_dir):
    return 0.75


def score(data, model, positive_class_label, **kwargs):
    return pd.DataFrame({positive_class_label: [model] * len(data)})
