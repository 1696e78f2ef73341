"""`dispatcher token`."""

import os
import re
from typing import Annotated

import typer

from dispatcher.chat.limits import USER_ID
from dispatcher.cli.mint import mint
from dispatcher.kernel.errors import InvalidRequestError, StartupError
from dispatcher.settings import read_settings


def token(
    user: Annotated[str, typer.Argument(help="The user's id.")],
    *,
    hours: Annotated[float, typer.Option(min=0.001, max=24 * 366, help="How long it is good for.")] = 24.0,
) -> None:
    """Print a token for a user, signed with APP_TOKEN_SECRET: what an application does for those who log in to it.

    Examples:
      export APP_TOKEN_SECRET=$(openssl rand -hex 24)
      dispatcher token alice
      dispatcher token bob --hours 1
    """
    settings = read_settings(os.environ)
    if settings.token_secret is None:
        raise StartupError(
            "APP_TOKEN_SECRET: is not set; tokens are signed with the secret that the service has"
        )
    if not re.fullmatch(USER_ID, user):
        raise InvalidRequestError(f"{user[:80]} is not a user's id, which is {USER_ID}")
    # written as it is: a terminal's width must not break it
    typer.echo(mint(settings, user, seconds=hours * 3600))
