"""A database address that is wrong: one line, and not a piece of the address."""

import pytest

from dispatcher.kernel.db import connected_pool
from dispatcher.kernel.errors import StartupError
from dispatcher.kernel.migrate import migrate
from dispatcher.kernel.revision import is_up_to_date


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@ss:SECRETW@localhost/db",
        "postgres://u:SECRETW/x@localhost/db",
        "postgres://u:p/SECRETW@localhost/db",
        "postgres://u:SECRETW\u2100@localhost/db",
        "postgres://u:[SECRETW@localhost/db",
        "postgres://u:p@127.0.0.1:1/db?sslmode=SECRETW",
        "postgres://u:SECRETW@127.0.0.1:1/db?sslmode=disable",
    ],
)
async def test_no_piece_of_the_address_is_told(url: str) -> None:
    for opening in (
        connected_pool(url, application="test", size=1).__aenter__(),
        is_up_to_date(url),
        migrate(url),
    ):
        with pytest.raises(StartupError, match=r"^APP_DB_URL: cannot open the database") as error:
            await opening
        assert "SECRETW" not in error.value.detail
        assert "\n" not in error.value.detail
