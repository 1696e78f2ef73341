"""`dispatcher token`, and how the command line makes tokens for itself."""

import os
from typing import Annotated

import jwt
import typer

from dispatcher.cli.console import out
from dispatcher.kernel.clock import unix_seconds
from dispatcher.kernel.errors import StartupError
from dispatcher.settings import Settings, read_settings

HOUR = 3600
DEFAULT_HOURS = 12.0


def token(
    user: Annotated[str, typer.Argument(help="The user's id, e.g. alice.", show_default=False)],
    *,
    hours: Annotated[
        float, typer.Option("--hours", min=0.01, max=24 * 366, help="How long it is good.")
    ] = DEFAULT_HOURS,
) -> None:
    """Print a token with which a program is that user in chat, made with APP_TOKEN_SECRET.

    Examples:
      dispatcher token alice
      curl localhost:8080/api/v1/conversations -H "Authorization: Bearer $(dispatcher token alice)"
    """
    settings = read_settings(os.environ)
    if settings.token_secret is None:
        raise StartupError(_why_not(settings))
    out.print(mint(settings, user, seconds=hours * HOUR), markup=False)


def mint(settings: Settings, user_id: str, *, seconds: float) -> str:
    """A token of this user; the secret must be there."""
    assert settings.token_secret is not None
    now = unix_seconds()
    claims: dict[str, object] = {"sub": user_id, "iat": now, "exp": now + int(seconds)}
    if settings.token_audience is not None:
        claims["aud"] = settings.token_audience
    if settings.token_issuer is not None:
        claims["iss"] = settings.token_issuer
    return jwt.encode(claims, settings.token_secret.get_secret_value(), algorithm="HS256")


def _why_not(settings: Settings) -> str:
    if settings.token_jwks is not None:
        return "the service takes tokens of whoever publishes APP_TOKEN_JWKS: get one there"
    if settings.api_key is not None:
        return "APP_TOKEN_SECRET is not set, so there are no tokens; X-API-Key and X-Act-As do without"
    return (
        "APP_TOKEN_SECRET is not set, so there are no tokens, and on this machine none is needed: "
        "say who you are with the header X-Act-As. For tokens: export APP_TOKEN_SECRET=$(openssl rand -hex 24), "
        "then start the service"
    )
