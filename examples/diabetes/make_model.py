"""Train the regression; write its coefficients to model.json and sample rows to diabetes.csv."""

import json
from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

FOLDER = Path(__file__).parent
ROWS = 40


def main():
    data = load_diabetes(as_frame=True, scaled=False)
    model = LinearRegression().fit(data.data, data.target)
    saved = {
        "features": list(data.data.columns),
        "coefficients": model.coef_.tolist(),
        "intercept": float(model.intercept_),
    }
    (FOLDER / "model.json").write_text(json.dumps(saved, indent=2) + "\n")
    data.data.head(ROWS).to_csv(FOLDER / "diabetes.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
