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
        f"{package} does not hold {relative} on this machine; install it (make install), "
        f"or set {instead} to a server of yours"
    )
