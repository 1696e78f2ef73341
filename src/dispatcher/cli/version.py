"""`dispatcher version`."""

import platform

from dispatcher import __version__
from dispatcher.cli.console import out


def version() -> None:
    """Print the versions of Dispatcher and of the Python it runs on, e.g. for a bug report.

    `dispatcher --version` prints the first alone.
    """
    out.print(f"dispatcher {__version__} (Python {platform.python_version()}, {platform.system()})")
