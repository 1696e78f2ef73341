"""A socket of a page whose name was made to lead here is closed before it is open."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from dispatcher.kernel.foreign_pages import NoForeignPages


@pytest.mark.parametrize(("host", "answer"), [("127.0.0.1:8080", "accept"), ("pages.example:8080", "close")])
async def test_a_socket_is_opened_from_this_machine_only(host: str, answer: str) -> None:
    said: list[Message] = []

    async def accept(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        said.append(message)

    scope: Scope = {
        "type": "websocket",
        "path": "/ws",
        "headers": [(b"host", host.encode()), (b"sec-fetch-site", b"cross-site")],
    }
    await NoForeignPages(accept, documents=(), any_host=False)(scope, receive, send)
    assert [message["type"] for message in said] == [f"websocket.{answer}"]
