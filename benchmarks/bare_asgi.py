"""The least that an ASGI application can do for the requests of `gateway.py`: read JSON, check a token, answer."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson

TOKEN = sys.argv[1].encode() if len(sys.argv) > 1 else b""
GAP_S = 0.02


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if dict(scope["headers"]).get(b"authorization") != b"Bearer " + TOKEN:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    asked = orjson.loads(body)
    text = asked["messages"][-1]["content"]
    head = {"id": "as-bare", "created": 1700000000, "model": asked["model"]}
    if not asked["stream"]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        raw = orjson.dumps({**head, "object": "chat.completion", "choices": [choice]})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": raw})
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(50):
        await asyncio.sleep(GAP_S)
        choice = {"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None}
        raw = orjson.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]})
        await send({"type": "http.response.body", "body": b"data: " + raw + b"\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


if __name__ == "__main__":
    import socket

    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            app, access_log=False, log_level="error", lifespan="off", loop="uvloop", http="httptools"
        )
        uvicorn.Server(config).run(sockets=[listener])
