"""One column per label."""

import pandas as pd


def load_model(code_dir):
    return 0.75


def score(data, model, positive_class_label, negative_class_label, **kwargs):
    rows = len(data)
    return pd.DataFrame({positive_class_label: [model] * rows, negative_class_label: [1 - model] * rows})
