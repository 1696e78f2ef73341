"""What the routes that put messages in read of a request besides its body, and how they answer."""

import hashlib

from fastapi import Response
from starlette.types import Scope

from dispatcher.kernel.errors import DispatcherError, InvalidRequestError
from dispatcher.messages.idempotency import MAX_KEY, Answer, IdempotencyKey


class MediaTypeError(DispatcherError):
    """The body is of a type that is not read here."""

    status = 415
    title = "Unsupported Media Type"


def content_type_and_key(scope: Scope) -> tuple[str, str | None]:
    """Content-Type and Idempotency-Key."""
    content_type, key = "", None
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name == b"idempotency-key":
            key = value.decode("latin-1")
    return content_type, key


def essence(content_type: str) -> str:
    """A Content-Type without its parameters; `application/json` for everything that is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return "application/json" if kind.startswith("application/") and kind.endswith("+json") else kind


def idempotency_key(given: str, kind: str, body: bytes) -> IdempotencyKey:
    """The key of a request of this kind, which is all that its body does not say.

    Raises:
        InvalidRequestError: It is not one.
    """
    key = given.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':  # as the draft standard writes it; most clients do not
        key = key[1:-1]
    if not 1 <= len(key) <= MAX_KEY or not all(" " <= character <= "~" for character in key):
        raise InvalidRequestError(f"Idempotency-Key: must have 1 to {MAX_KEY} printable ASCII characters")
    return IdempotencyKey(key, hashlib.sha256(kind.encode() + b"\n" + body).digest())


def response(answer: Answer) -> Response:
    """The answer, over HTTP."""
    headers = {}
    if answer.location:
        headers["Location"] = answer.location
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(answer.body, answer.status, headers, media_type="application/json")
