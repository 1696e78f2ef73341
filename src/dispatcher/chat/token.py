"""Tokens: who somebody is, as a JWT signed by those who know them says.

Either everybody shares a secret (HS256), or the issuer publishes keys (a JWKS, by URL or file). The algorithm is ours to
say, never the token's. A token must end (`exp`) and name its user (`sub`); its text is never logged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import jwt

from dispatcher.chat.limits import USER_ID
from dispatcher.kernel.errors import UnauthenticatedError

LEEWAY_SECONDS = 10.0
"""How far the issuer's clock may be from ours."""
MAX_TOKEN = 8192
"""Characters of a token."""
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a good token stands for."""

    user_id: str
    expires_at: datetime
    """When the token ends; with the leeway it is taken for a little longer."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """What verifies one token, and the algorithms that this key is for."""

    key: Any
    algorithms: tuple[str, ...]


class TokenKeys(Protocol):
    """Where the keys come from."""

    problem: str | None
    """Why they could not be had the last time."""

    async def key_of(self, header: Mapping[str, Any]) -> VerifyingKey:
        """The key for a token with this header.

        Raises:
            UnauthenticatedError: None is known for it.
            UnavailableError: None can be known at the moment.
        """
        ...


class SharedSecret:
    """One secret for all tokens: HS256."""

    problem: str | None = None

    def __init__(self, secret: str) -> None:
        self._key = VerifyingKey(secret.encode(), ("HS256",))

    async def key_of(self, header: Mapping[str, Any]) -> VerifyingKey:  # noqa: ARG002 - the same for every token
        """The secret."""
        return self._key


class Tokens:
    """Reads tokens."""

    def __init__(self, keys: TokenKeys, *, audience: str | None = None, issuer: str | None = None) -> None:
        self._keys, self._audience, self._issuer = keys, audience, issuer

    @property
    def problem(self) -> str | None:
        """Why the keys could not be had the last time, though the earlier ones may still do."""
        return self._keys.problem

    async def identity(self, token: str) -> Identity:
        """Whom the token stands for.

        Raises:
            UnauthenticatedError: It is no token, it is over, or nobody who may has signed it.
            UnavailableError: The keys to judge it are not there at the moment.
        """
        if len(token) > MAX_TOKEN:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _refused("it is no JWT") from None
        key = await self._keys.key_of(header)
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("it is over: its exp has passed") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"it has no {error.claim}") from None
        except jwt.InvalidAudienceError:
            # without an audience of ours every `aud` names somebody else (RFC 7519, 4.1.3)
            why = "its aud is not" if self._audience else "it has an aud, and nothing is set as"
            raise _refused(f"{why} APP_TOKEN_AUDIENCE") from None
        except jwt.InvalidIssuerError:
            raise _refused("its iss is not APP_TOKEN_ISSUER") from None
        except jwt.ImmatureSignatureError:
            raise _refused("it begins later: its nbf or iat has not come yet") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise _refused("its signature, or what it says, is not good") from None
        return _identity(claims)


def _identity(claims: Mapping[str, Any]) -> Identity:
    user_id, expires = claims["sub"], claims["exp"]
    if not re.fullmatch(USER_ID, user_id):
        raise _refused(f"its sub is not a user's id, which is {USER_ID}")
    return Identity(user_id, datetime.fromtimestamp(min(int(expires), LAST_SECOND), UTC))


def _refused(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"the token is refused: {why}")
