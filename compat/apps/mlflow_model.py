"""MLflow: `python mlflow_model.py FOLDER` saves the model that `mlflow models serve` loads."""

import sys

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext


class Double(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        from model import load  # noqa: PLC0415 - not when it is saved, with our model.py packed beside it

        self.weight = load()

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: object = None) -> pd.Series:
        return self.weight * model_input["x"]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=Double(), code_paths=["model.py"], pip_requirements=[])
