"""Returns which of the documented keyword arguments score gets."""

import pandas as pd

NAMES = ("binary_data", "charset", "class_labels", "mimetype", "negative_class_label", "positive_class_label")


def load_model(code_dir):
    return "model"


def score(data, model, **kwargs):
    told = [f"{name}: {type(value).__name__} {value!r}" for name, value in sorted(kwargs.items()) if name in NAMES]
    return pd.DataFrame({"Predictions": range(len(data)), "told": (told * len(data))[: len(data)]})
