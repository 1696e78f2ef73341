"""What every route shares: bodies have an end, bugs are answered too, and problems read well."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from dispatcher.kernel.web import MAX_BODY_BYTES, BodyLimit, BoundedRoute, Correlation, handle_errors

PROBLEM = "application/problem+json"


class Given(BaseModel):
    text: str


@pytest.fixture
async def api() -> AsyncIterator[httpx2.AsyncClient]:
    router = APIRouter(route_class=BoundedRoute)

    @router.put("/text")
    async def text(given: Given) -> int:
        return len(given.text)

    @router.get("/bug")
    async def bug() -> None:
        raise LookupError("a bug of ours")

    app = FastAPI()
    handle_errors(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Correlation)
    app.include_router(router)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://test",
        headers={"content-type": "application/json"},
    ) as client:
        yield client


async def chunks(size: int) -> AsyncIterator[bytes]:
    yield b'{"text": "'
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b'"}'


async def test_a_body_has_an_end(api: httpx2.AsyncClient) -> None:
    fits = await api.put("/text", content=chunks(MAX_BODY_BYTES - 1024))
    assert (fits.status_code, fits.json()) == (200, MAX_BODY_BYTES - 1024)
    for content in (chunks(MAX_BODY_BYTES), b" " * (MAX_BODY_BYTES + 1)):
        answer = await api.put("/text", content=content)
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
        assert answer.json()["detail"] == "the body may have 65536 bytes at most"


async def test_a_body_that_is_nested_too_deep(api: httpx2.AsyncClient) -> None:
    answer = await api.put("/text", content=b"[" * 60_000)
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)


async def test_a_bug_is_answered_and_logged_under_its_correlation_id(api: httpx2.AsyncClient) -> None:
    with capture_logs(processors=[merge_contextvars]) as logs:
        answer = await api.get("/bug", headers={"X-Correlation-ID": "c-1"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"] == "c-1"
    assert "a bug of ours" not in answer.text
    assert [(line["event"], line["correlation_id"]) for line in logs] == [
        ("request_failed", "c-1"),
        ("http_request", "c-1"),
    ]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "body: field required"),
        (b"{", "body: is not JSON at character 1"),
        (b"{}", "text: field required"),
        (b'{"text": 1}', "text: input should be a valid string"),
    ],
)
async def test_what_is_wrong_reads_well(api: httpx2.AsyncClient, content: bytes, detail: str) -> None:
    answer = await api.put("/text", content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["detail"] == detail
