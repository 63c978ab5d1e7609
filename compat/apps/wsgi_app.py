"""Flask, the model loaded at import: for gunicorn, waitress, cheroot, uWSGI and flask run."""

from flask import Flask, request
from model import load

app = Flask(__name__)
WEIGHT = load()


@app.post("/predict")
def predict() -> dict[str, float]:
    return {"y": WEIGHT * request.get_json()["x"]}
