"""Which version of Slidelane this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def version() -> str:
    """Return the version, as `slidelane --version` says it."""
    try:
        return version_of("slidelane")
    except PackageNotFoundError:
        return "0 (a checkout that is not installed)"
