"""Returns which class labels score gets."""

import pandas as pd


def load_model(code_dir):
    return "model"


def score(data, model, **kwargs):
    names = ("positive_class_label", "negative_class_label", "class_labels")
    told = [f"{name}: {kwargs.get(name, 'not given')!r}" for name in names]
    return pd.DataFrame({"yes": [0.5] * len(data), "no": [0.5] * len(data), "told": (told * len(data))[: len(data)]})
