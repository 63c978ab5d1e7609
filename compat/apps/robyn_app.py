"""Robyn, the model loaded at start-up, on $ROBYN_HOST and $ROBYN_PORT."""

from model import load
from robyn import Request, Robyn

app = Robyn(__file__)
WEIGHT = load()


@app.post("/predict")
def predict(request: Request) -> dict[str, float]:
    return {"y": WEIGHT * request.json()["x"]}


app.start()
