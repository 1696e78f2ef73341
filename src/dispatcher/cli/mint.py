"""Tokens that the command line makes, with the secret that the service has too."""

import jwt

from dispatcher.kernel.clock import unix_seconds
from dispatcher.settings import Settings


def mint(settings: Settings, user_id: str, *, seconds: float) -> str:
    """A token of this user, good for so long; the secret must be there."""
    assert settings.token_secret is not None
    claims: dict[str, object] = {"sub": user_id, "exp": unix_seconds() + round(seconds)}
    if settings.token_audience:
        claims["aud"] = settings.token_audience
    if settings.token_issuer:
        claims["iss"] = settings.token_issuer
    return jwt.encode(claims, settings.token_secret.get_secret_value(), "HS256")
