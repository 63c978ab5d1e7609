"""A linear regression on ten columns, for parity/speed.py."""

import pickle

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

generator = np.random.default_rng(0)
data = pd.DataFrame(generator.normal(size=(200, 10)), columns=[f"column {number}" for number in range(10)])
with open("model.pkl", "wb") as file:
    pickle.dump(LinearRegression().fit(data, data.sum(axis=1)), file)
