"""A pickle without a custom.py; labels and classes are in different order."""

import pickle

import pandas as pd
from sklearn.tree import DecisionTreeClassifier

data = pd.DataFrame({"a": [1, 2, 3, 4, 5, 6], "b": [2, 1, 4, 3, 6, 5]})
with open("model.pkl", "wb") as file:
    pickle.dump(DecisionTreeClassifier(random_state=0).fit(data, ["a", "b", "c", "a", "b", "c"]), file)
