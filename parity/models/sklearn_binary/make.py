"""A pickle without a custom.py; its classes are the labels."""

import pickle

import pandas as pd
from sklearn.linear_model import LogisticRegression

data = pd.DataFrame({"a": [1, 2, 3, 4, 5, 6], "b": [2, 1, 4, 3, 6, 5]})
with open("model.pkl", "wb") as file:
    pickle.dump(LogisticRegression().fit(data, ["no", "no", "yes", "no", "yes", "yes"]), file)
