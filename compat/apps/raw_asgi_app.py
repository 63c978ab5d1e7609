"""ASGI without a framework, the model loaded at import: for daphne, which sends no lifespan events."""

import json
from typing import Any

from model import load

WEIGHT = load()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = json.dumps({"y": WEIGHT * json.loads(body)["x"]} if body else {}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})
