"""The running service's API, for the commands that look and steer."""

import os
import ssl
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
import typer

from dispatcher.cli.api_record import ApiRecord
from dispatcher.cli.console import cut
from dispatcher.kernel.api_key import HEADER
from dispatcher.kernel.errors import InvalidRequestError, UnavailableError
from dispatcher.settings import Settings, read_settings

DEFAULT_PORT = 8080
SECONDS = 10.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_EXCERPT = 200
_OURS = {404, 409, 422}

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="APP_URL",
        help="The service's address. Unless given: that of the service which runs on APP_DATA_DIR, "
        "else port APP_PORT of this machine.",
    ),
]


Query = Mapping[str, str | int]


def call(
    method: str,
    path: str,
    *,
    url: str | None,
    query: Query | None = None,
    body: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """One request. The answer, whatever its status.

    Raises:
        UnavailableError: Nothing answers there; the text says what was tried, and how to start the service.
        InvalidRequestError: The address is not one.
    """
    settings = read_settings(os.environ)
    base = api_url(settings, url)
    try:
        with httpx2.Client(
            timeout=SECONDS,
            verify=trusted(settings),
            # a proxy of the environment does not know the services of this machine
            trust_env=urlsplit(base).hostname not in _LOOPBACK,
        ) as client:
            headers = {HEADER: settings.api_key.get_secret_value()} if settings.api_key else None
            return client.request(method, f"{base}{path}", params=query, json=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise UnavailableError(
            f"no service answers at {base} ({_why(error)}); "
            "start one with `make run` or `dispatcher serve`, or say where it is: --url http://host:port"
        ) from None


def call_json(
    method: str,
    path: str,
    *,
    url: str | None,
    query: Query | None = None,
    body: Mapping[str, str] | None = None,
) -> Any:
    """Like `call`, for answers that must be 2xx and JSON.

    Raises:
        InvalidRequestError: The service says that it cannot be done: no such message, or not in this state.
        UnavailableError: The service could not do it, or it is not our service that answers there.
    """
    response = call(method, path, url=url, query=query, body=body)
    answer = answer_of(response)
    if response.is_success:
        return answer
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if response.status_code in _OURS and detail:
        raise InvalidRequestError(cut(str(detail), _EXCERPT))
    if response.status_code == httpx2.codes.UNAUTHORIZED:
        raise InvalidRequestError(
            "the service wants its operator's key: set APP_API_KEY to the same as the service's"
        )
    raise UnavailableError(
        f"{method} {response.url} answered {response.status_code}: {cut(str(detail or response.text), _EXCERPT)}"
    )


def answer_of(response: httpx2.Response) -> Any:
    """The JSON of an answer.

    Raises:
        UnavailableError: It is not JSON; something else answers at that address.
    """
    try:
        return response.json()
    except ValueError:
        raise UnavailableError(
            f"{response.url} answered {response.status_code}, but not with JSON; is it Dispatcher that listens there?"
        ) from None


def api_url(settings: Settings, given: str | None) -> str:
    """Where the API is: the given address, else the one a running service has noted, else the usual port."""
    if given is None:
        noted = ApiRecord(settings.data_dir).read()
        scheme = "https" if settings.use_https else "http"
        return noted or f"{scheme}://127.0.0.1:{settings.port or DEFAULT_PORT}"
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequestError(
            f"--url: {cut(given, _EXCERPT)} is not an address; e.g. --url http://127.0.0.1:{DEFAULT_PORT}"
        )
    return url.rstrip("/")


def trusted(settings: Settings) -> ssl.SSLContext | bool:
    """The service's own certificate too, which is often a self-signed one."""
    if not settings.use_https:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(settings.https_cert)
    return context


def _why(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {SECONDS:g} s"
    return cut(str(error) or type(error).__name__, _EXCERPT)
