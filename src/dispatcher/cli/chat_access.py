"""As whom the command line talks, and how it proves that."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from dispatcher.cli.api import api_url, trusted
from dispatcher.cli.mint import mint
from dispatcher.client import ChatError, ClosedError, RefusedError, UnreachableError, chat_api
from dispatcher.kernel.errors import InvalidRequestError, StartupError, UnavailableError
from dispatcher.settings import Settings

TOKEN_SECONDS = 3600
_UNAUTHENTICATED, _FORBIDDEN, _BAD_TOKEN = 401, 403, 3500


class Proof(TypedDict, total=False):
    """What a client is to be told."""

    url: str
    token: str | Callable[[], str]
    user_id: str
    api_key: str
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Access:
    """How users are let in here."""

    settings: Settings
    url: str
    token: str | None

    @classmethod
    def of(cls, settings: Settings, *, url: str | None, token: str | None) -> "Access":
        """The access that these settings allow; `token` is one that was given by hand.

        Raises:
            StartupError: None.
        """
        if token is None and settings.token_jwks is not None and settings.api_key is None:
            raise StartupError(
                "--token: give a token of whoever publishes APP_TOKEN_JWKS, or set APP_API_KEY, the operator's key"
            )
        return cls(settings, api_url(settings, url), token)

    @property
    def for_anybody(self) -> bool:
        """Whether it is good for more than one user: a token that was given is not."""
        return self.token is None

    def proof_of(self, user_id: str) -> Proof:
        """With what this user is let in: a token, the operator's key, or, on the same machine, their name alone."""
        context = trusted(self.settings)
        proof = Proof(url=self.url, tls=context if isinstance(context, ssl.SSLContext) else None)
        if self.token is not None:
            proof["token"] = self.token
        elif self.settings.token_secret is not None:
            proof["token"] = partial(mint, self.settings, user_id, seconds=TOKEN_SECONDS)
        else:
            proof["user_id"] = user_id
            if self.settings.api_key is not None:
                proof["api_key"] = self.settings.api_key.get_secret_value()
        return proof

    async def add(self, user_id: str) -> None:
        """Have this user, whether there was one or not.

        Raises:
            InvalidRequestError, UnavailableError: It cannot be; the text says what to do.
        """
        try:
            async with chat_api(**self.proof_of(user_id)) as api:
                await api.add_user(user_id)
        except ChatError as error:
            raise self.explained(error) from None

    def explained(self, error: ChatError, *, unsent: str = "") -> InvalidRequestError | UnavailableError:
        """What to do about it; and what the user wrote that is lost by it."""
        lost = f"; not sent: {unsent}" if unsent else ""
        if isinstance(error, UnreachableError):
            return UnavailableError(
                f"{error}; start a service with `make run` or `dispatcher serve`, or say where it is: "
                f"--url http://host:port{lost}"
            )
        refused = (isinstance(error, RefusedError) and error.status == _UNAUTHENTICATED) or (
            isinstance(error, ClosedError) and error.code == _BAD_TOKEN
        )
        if refused and self.token is None:
            return InvalidRequestError(
                f"{error}: set APP_TOKEN_SECRET or APP_API_KEY to the same as the service's, or give --token{lost}"
            )
        if isinstance(error, RefusedError) and error.status == _FORBIDDEN and self.token is not None:
            return InvalidRequestError(f"{error}: the token is somebody else's")
        return InvalidRequestError(f"{error}{lost}")
