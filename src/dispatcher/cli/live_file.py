"""The YAML file below etcd's live values."""

from pathlib import Path
from typing import Any

from dispatcher.live_config.resolve import read_file
from dispatcher.settings import Settings

DEFAULT_FILE = Path("configs/dynamic_config.yaml")


def read_live_file(settings: Settings) -> dict[str, Any]:
    """Its values; none where APP_DYNAMIC_CONFIG names no file and the usual one is not there.

    Raises:
        StartupError: It cannot be read, or a value in it is wrong.
    """
    return read_file(settings.dynamic_config or DEFAULT_FILE, required=settings.dynamic_config is not None)
