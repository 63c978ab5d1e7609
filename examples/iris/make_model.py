"""Train a classifier on scikit-learn's iris data; write it to model.joblib and sample rows to iris.csv."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

FOLDER = Path(__file__).parent
EACH = 25


def main():
    data = load_iris(as_frame=True)
    species = data.target_names[data.target]
    joblib.dump(LogisticRegression(max_iter=1000).fit(data.data, species), FOLDER / "model.joblib")
    data.data.iloc[::EACH].to_csv(FOLDER / "iris.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
