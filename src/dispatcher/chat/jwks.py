"""Published keys: a JWKS of the tokens' issuer, from a URL or a file, kept, and fetched anew when it may have changed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import jwt
import orjson
import structlog

from dispatcher.chat.token import VerifyingKey
from dispatcher.kernel.address import origin_ascii, parsed_url
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.deadline import within
from dispatcher.kernel.errors import UnauthenticatedError, UnavailableError

log = structlog.get_logger()

KEPT_SECONDS = 300.0
"""After this long the keys are fetched anew, so that one that was withdrawn is not trusted for ever."""
STALE_SECONDS = 3600.0
"""How long the last keys are trusted while no new ones can be had."""
REST_SECONDS = 10.0
"""Between two fetches, whatever tokens come: unknown keys must not make us hammer the issuer."""
FETCH_SECONDS = 3.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100

# By what a key is, not by what a token says. None of them is symmetric: a published key must never verify HS256.
_ALGORITHMS: dict[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}


class PublishedKeys:
    """The keys of a JWKS. `run` keeps them fresh; a token with an unknown `kid` has them fetched at once."""

    def __init__(self, source: str) -> None:
        """`source` is an http(s) URL, or the path of a file."""
        self._source = source
        # what else is in an address may be a password
        self._shown = origin_ascii(parsed_url(source)) if "://" in source else source
        self._keys: dict[str | None, VerifyingKey] = {}
        self._fetched = self._tried = float("-inf")
        self._turn = asyncio.Lock()
        self.problem: str | None = "not fetched yet"
        """Why the keys could not be had the last time."""

    async def run(self) -> None:
        """Fetch the keys now, and again whenever they are old; forever."""
        while True:
            await self._refresh()
            await pause(REST_SECONDS if self.problem else KEPT_SECONDS)

    async def key_of(self, header: Mapping[str, Any]) -> VerifyingKey:
        """The key that this header names; without a name the only one there is."""
        kid = header.get("kid")
        found = self._find(kid)
        if found is None:
            await self._refresh()
            found = self._find(kid)
        if found is not None:
            return found
        if not self._keys or elapsed() - self._fetched > STALE_SECONDS:
            raise UnavailableError(
                "the keys that tokens are judged by cannot be had at the moment; try again"
            )
        raise UnauthenticatedError("the token is refused: its kid names no key of APP_TOKEN_JWKS")

    def _find(self, kid: object) -> VerifyingKey | None:
        if elapsed() - self._fetched > STALE_SECONDS:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _refresh(self) -> None:
        async with self._turn:
            if elapsed() - self._tried < REST_SECONDS:
                return
            self._tried = elapsed()
            try:
                keys = _parse(await within(FETCH_SECONDS, self._fetch()))
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TimeoutError) as error:
                if self.problem is None or self.problem == "not fetched yet":
                    log.warning(
                        "token_keys_unavailable",
                        source=self._shown,
                        error=str(error) or type(error).__name__,
                    )
                self.problem = str(error) or type(error).__name__
                return
            if self.problem is not None or keys.keys() != self._keys.keys():
                log.info("token_keys", source=self._shown, keys=len(keys))
            self._keys, self._fetched, self.problem = keys, elapsed(), None

    async def _fetch(self) -> bytes:
        if "://" not in self._source:
            return await asyncio.to_thread(_read_file, Path(self._source))
        async with (
            httpx2.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self._source, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx2.codes.OK:
                raise ValueError(f"the issuer answers {answer.status_code}")
            read = bytearray()
            async for piece in answer.aiter_bytes():
                read += piece
                if len(read) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
            return bytes(read)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        read = file.read(MAX_BYTES + 1)
    if len(read) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return read


def _parse(text: bytes) -> dict[str | None, VerifyingKey]:
    document = orjson.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"not a JWKS: an object with `keys`, at most {MAX_KEYS}")
    found = {}
    for one in listed:
        if isinstance(one, dict) and (key := _key(one)) is not None:
            kid = one.get("kid")
            found[kid if isinstance(kid, str) else None] = key
    if not found:
        raise ValueError("no key in it that signs tokens")
    return found


def _key(one: dict[str, Any]) -> VerifyingKey | None:
    """None for keys for something else, or of kinds that are not known here."""
    allowed = _ALGORITHMS.get(str(one.get("crv") or one.get("kty")))
    if allowed is None or one.get("use", "sig") != "sig":
        return None
    named = one.get("alg")
    if named is not None and named not in allowed:
        return None
    algorithms = allowed if named is None else (str(named),)
    try:
        return VerifyingKey(jwt.PyJWK(one, algorithm=algorithms[0]).key, algorithms)
    except jwt.PyJWTError:
        return None
