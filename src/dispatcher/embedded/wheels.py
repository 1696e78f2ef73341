"""Where the servers' programs lie: in the packages that carry them."""

from importlib.util import find_spec
from pathlib import Path

from dispatcher.embedded.errors import EmbeddedError


def program(package: str, relative: str, *, instead: str) -> Path:
    """The program of an installed package, links resolved; `instead` is the setting that makes it unnecessary.

    The package is looked up and not imported: these packages start things, or warn, on import.
    """
    spec = find_spec(package)
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent.joinpath(relative).resolve()
        if path.is_file():
            return path
    raise EmbeddedError(
        f"{instead} is not set, and the package {package}, which carries a server of our own, is not installed; "
        f"set {instead}, or install the package"
    )
