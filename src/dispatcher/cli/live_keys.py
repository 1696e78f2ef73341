"""The live configuration's keys in etcd, as the command line reads and writes them."""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import aetcd

from dispatcher.cli.known import known_etcd
from dispatcher.cli.live_file import read_live_file
from dispatcher.kernel.errors import InvalidRequestError, UnavailableError
from dispatcher.kernel.etcd import ERRORS, connected
from dispatcher.live_config.model import SECRET_KEYS, URL_KEYS, origin_of
from dispatcher.live_config.resolve import KEYS, check_value, resolve
from dispatcher.settings import Settings, read_settings

Answer = TypeVar("Answer")
MOST_SHOWN = 60


class LiveKeys:
    """The keys under the prefix, in the etcd of the service that runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = known_etcd(settings)
        self._prefix = settings.etcd_prefix.encode()

    async def all(self) -> dict[str, bytes]:
        """Every key under the prefix, known or not, with its value."""

        async def read(client: aetcd.Client) -> dict[str, bytes]:
            found = await client.get_prefix(self._prefix)
            return {kv.key.removeprefix(self._prefix).decode(errors="replace"): kv.value for kv in found.kvs}

        return await self._ask(read)

    async def put(self, key: str, value: bytes) -> None:
        """Write one value; services that run take it at once."""

        async def write(client: aetcd.Client) -> None:
            await client.put(self._prefix + key.encode(), value)

        await self._ask(write)

    async def delete(self, key: str) -> None:
        """Delete one key: the file's value or the default counts again."""

        async def remove(client: aetcd.Client) -> None:
            await client.delete(self._prefix + key.encode())

        await self._ask(remove)

    async def refusal(self, key: str, value: bytes) -> str | None:
        """Why a service would refuse this value beside the others that are set; None when it would take it."""
        reason = check_value(key, value)
        if reason is not None:
            return reason
        file = read_live_file(self._settings)
        others = {name: raw for name, raw in (await self.all()).items() if name != key}
        accepted = resolve(others, file=file, last_good={}).accepted
        return resolve({**others, key: value}, file=file, last_good=accepted).refused.get(key)

    async def _ask(self, ask: Callable[[aetcd.Client], Awaitable[Answer]]) -> Answer:
        """Of the first endpoint that answers."""
        problems = []
        for endpoint in self._endpoints:
            try:
                async with connected(endpoint) as client:
                    return await ask(client)
            except ERRORS as error:
                problems.append(f"{endpoint}: {str(error) or type(error).__name__}")
        raise UnavailableError(
            f"etcd does not answer ({'; '.join(problems)}); start the service, or set APP_REMOTE_ETCD_ENDPOINTS"
        )


def live_keys() -> LiveKeys:
    """Those of the environment's settings."""
    return LiveKeys(read_settings(os.environ))


def known_key(key: str) -> str:
    """The key.

    Raises:
        InvalidRequestError: There is no such key; the text names the one that may have been meant.
    """
    if key not in KEYS:
        raise InvalidRequestError(f"{key}: {check_value(key, b'')}")
    return key


def shown_value(key: str, value: bytes) -> str:
    """The value for people: a secret as `(set)`, a webhook's address without what may hold a token."""
    if key in SECRET_KEYS:
        return "(set)"
    text = value.decode(errors="replace").strip()
    if key in URL_KEYS:
        return _shown_url(text)
    return text


def _shown_url(text: str) -> str:
    url = text.strip('"')
    try:
        origin = origin_of(url)
    except ValueError:
        return "(not an address)"
    return origin if origin == url.rstrip("/") else f"{origin}/…"


def refused(entries: Mapping[str, bytes]) -> dict[str, str]:
    """Keys whose value a service refuses, and why."""
    return dict(resolve(entries, file={}, last_good={}).refused)
