"""Where the servers of a service that runs are, for commands that use them too."""

from dispatcher.embedded.servers import recorded_addresses
from dispatcher.kernel.errors import StartupError
from dispatcher.settings import Settings


def known_db_url(settings: Settings) -> str:
    """The database of a service that runs: APP_DB_URL, or the embedded one of the data folder.

    Raises:
        StartupError: Neither is there.
    """
    if settings.db_url is not None:
        return settings.db_url.get_secret_value()
    running = recorded_addresses(settings.data_dir)
    if running is not None and running.db_url is not None:
        return running.db_url
    raise StartupError(_nothing_runs(settings, "APP_DB_URL"))


def known_etcd(settings: Settings) -> tuple[str, ...]:
    """The etcd of a service that runs; like `known_db_url`."""
    if settings.etcd_endpoints is not None:
        return settings.etcd_endpoints
    running = recorded_addresses(settings.data_dir)
    if running is not None and running.etcd_endpoints is not None:
        return running.etcd_endpoints
    raise StartupError(_nothing_runs(settings, "APP_REMOTE_ETCD_ENDPOINTS"))


def _nothing_runs(settings: Settings, variable: str) -> str:
    return (
        f"{variable} is not set, and nothing runs on the folder {settings.data_dir}; "
        f"start the service (make run), or set {variable}"
    )
