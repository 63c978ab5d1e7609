"""A pickle without a custom.py: a detector."""

import pickle

import pandas as pd
from sklearn.covariance import EllipticEnvelope

data = pd.DataFrame({"a": [1, 2, 3, 4, 5, 60.0], "b": [2, 1, 4, 3, 6, -50.0]})
with open("model.pkl", "wb") as file:
    pickle.dump(EllipticEnvelope(random_state=0, contamination=0.2).fit(data), file)
