"""Uses of the target type that score gets."""

import pandas as pd


def load_model(code_dir):
    return "model"


def score(data, model, target_type, **kwargs):
    told = [
        target_type.value,
        target_type.name,
        str(target_type),
        "sparse_colnames" in kwargs,
        "class_labels" in kwargs,
    ]
    return pd.DataFrame(
        {"Predictions": range(len(data)), "told": ([str(each) for each in told] * len(data))[: len(data)]}
    )
