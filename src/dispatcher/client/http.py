"""Requests to the service's REST API: who asks, and what its answers mean."""

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from dispatcher.client.closing import may_ask_again
from dispatcher.client.errors import RefusedError, UnreachableError
from dispatcher.client.token import TokenKeeper

PREFIX = "/api/v1"
KEY_HEADER = "X-API-Key"
ACT_AS = "X-Act-As"
SECONDS = 15.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_EXCERPT = 300

Given = Mapping[str, Any]


class Http:
    """One user's requests."""

    def __init__(
        self,
        url: str,
        *,
        token: TokenKeeper,
        user_id: str | None,
        api_key: str | None,
        tls: ssl.SSLContext | bool,
    ) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._headers: dict[str, str] = {}
        if api_key is not None:
            self._headers[KEY_HEADER] = api_key
        if user_id is not None:
            self._headers[ACT_AS] = user_id
        self._client = httpx2.AsyncClient(
            base_url=self._url + PREFIX, timeout=SECONDS, verify=tls, trust_env=not is_local(url)
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """The answer's JSON; what is None in the query is left out.

        Raises:
            RefusedError: The service says no.
            UnreachableError: It does not answer, or cannot at the moment.
        """
        return await self.call("GET", path, query={k: v for k, v in query.items() if v is not None})

    async def call(
        self, method: str, path: str, *, body: Given | None = None, query: Given | None = None
    ) -> Any:
        """The same for any method; None where there is no content."""
        token = await self._token.get()
        response = await self._once(method, path, token, body, query)
        if response.status_code == httpx2.codes.UNAUTHORIZED and self._token.renewable:
            response = await self._once(method, path, await self._token.get(other_than=token), body, query)
        if response.is_success:
            return self._read(response)
        detail = _detail(response)
        if may_ask_again(response.status_code):
            raise UnreachableError(f"{self._url} answered {response.status_code}: {detail}")
        raise RefusedError(response.status_code, detail)

    def _read(self, response: httpx2.Response) -> Any:
        try:
            return response.json() if response.content else None
        except ValueError:
            raise UnreachableError(f"{self._url} answered, but not with JSON; is it Dispatcher?") from None

    async def _once(
        self, method: str, path: str, token: str | None, body: Given | None, query: Given | None
    ) -> httpx2.Response:
        headers = dict(self._headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            return await self._client.request(method, path, json=body, params=query, headers=headers)
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise UnreachableError(f"no service answers at {self._url} ({why})") from error


def is_local(url: str) -> bool:
    """Whether it is of this machine: a proxy of the environment does not know it then."""
    return urlsplit(url).hostname in _LOOPBACK


def _detail(response: httpx2.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:_EXCERPT] or response.reason_phrase
