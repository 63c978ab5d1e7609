"""FastAPI, the model loaded in the lifespan: for uvicorn, hypercorn, granian, uvicorn's gunicorn worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from model import load
from pydantic import BaseModel


class Question(BaseModel):
    x: float


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.weight = load()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(question: Question) -> dict[str, float]:
    return {"y": app.state.weight * question.x}
