"""Parts of the command line that need no server."""

import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.cli.api import api_url
from dispatcher.cli.api_record import ApiRecord
from dispatcher.cli.console import cut
from dispatcher.cli.live_keys import shown_value
from dispatcher.cli.main import COMMANDS
from dispatcher.cli.psql import without_password
from dispatcher.kernel.errors import InvalidRequestError
from dispatcher.settings import Settings

HEAVY = ("fastapi", "sqlalchemy", "grpc", "uvicorn", "asyncpg", "pydantic", "httpx2")


def test_help_imports_none_of_the_services_libraries() -> None:
    code = f"import sys, dispatcher.cli.main; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_service_imports_nothing_that_only_a_migration_needs() -> None:
    code = "import sys, dispatcher.cli.serve; print({'alembic', 'sqlalchemy'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_teaches(name: str) -> None:
    command = COMMANDS[name].load(name)
    assert command.name == name
    if name != "version":
        assert "Examples" in command.help
    for line in command.help.splitlines():
        if line.startswith("  "):
            assert len(line) <= 78, "an example must not be wrapped in a terminal of 80 columns"


def test_the_api_is_where_the_running_service_noted_it(tmp_path: Path) -> None:
    settings = Settings.model_validate({"APP_DATA_DIR": tmp_path, "APP_PORT": "9000"})
    assert api_url(settings, None) == "http://127.0.0.1:9000"
    record = ApiRecord(tmp_path)
    record.write("http://127.0.0.1:8083")
    assert api_url(settings, None) == "http://127.0.0.1:8083"
    assert api_url(settings, "example.com:1/base/") == "http://example.com:1/base"


def test_a_service_withdraws_only_its_own_note(tmp_path: Path) -> None:
    record = ApiRecord(tmp_path)
    record.write("http://127.0.0.1:2")
    record.withdraw("http://127.0.0.1:1")
    assert record.read() == "http://127.0.0.1:2"
    record.withdraw("http://127.0.0.1:2")
    assert record.read() is None


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://[", "http://x:99999", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="--url"):
        api_url(Settings.model_validate({}), url)


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert cut("a\x1b[2Jb\nc", 20) == "a·[2Jb·c"
    assert cut("abcdef", 4) == "abc…"


def test_psql_gets_the_password_apart() -> None:
    assert without_password("postgres://u:p%40:x@db:5432/d?sslmode=disable") == (
        "postgres://u@db:5432/d?sslmode=disable",
        "p@:x",
    )
    local = "postgresql://dispatcher@/dispatcher?host=%2Frun"
    assert without_password(local) == (local, None)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("webhook_auth_key", b"hunter2", "(set)"),
        ("webhook_url", b"https://me:secret@example.com/hook/token?k=v", "https://example.com/…"),
        ("webhook_url", b'"http://example.com:81/"', "http://example.com:81"),
        ("rate_limit", b" 5\n", "5"),
        ("rate_limit", b"\xff", "�"),
    ],
)
def test_live_values_are_shown_without_their_secrets(key: str, value: bytes, shown: str) -> None:
    assert shown_value(key, value) == shown
