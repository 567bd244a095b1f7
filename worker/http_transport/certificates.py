"""The certificates that are trusted when slides are fetched and results delivered over TLS."""

import logging
import os
import ssl
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from broker.settings.section import ConfigError

VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables by which other programs are told of a site's own authorities."""

HINT: Final = (
    "if the site has a certificate authority of its own, name its PEM file in worker.http.ca_file"
)
"""What to do about a certificate that is not trusted."""

_log = logging.getLogger(__name__)


class TrustedCertificates:
    """Public certificate authorities and those of the site.

    The site's are in `ca_file`, in the files or folders that `VARIABLES` name, and in the store of
    the operating system. All are added to the public ones, because one order may fetch from a
    public bucket and deliver inside the site.
    """

    def __init__(self, ca_file: Path | None) -> None:
        """Raise `ConfigError` for a `ca_file` that cannot be used.

        A variable that names nothing usable is logged and left out.
        """
        self._own: list[Path] = []
        for variable in VARIABLES:
            path = os.environ.get(variable)
            if path and Path(path) not in self._own:
                self._add_from_environment(variable, Path(path))
        if ca_file is not None:
            self._add_from_settings(ca_file)

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The TLS context of a client; made when it is needed, since that takes a moment."""
        context = create_urllib3_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        context.load_default_certs()
        for path in self._own:
            _load(context, path)
        return context

    def _add_from_settings(self, path: Path) -> None:
        try:
            _check(path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"worker.http.ca_file: no certificates can be read from {path} ({_reason(error)})"
            ) from None
        self._own.append(path)

    def _add_from_environment(self, variable: str, path: Path) -> None:
        try:
            _check(path)
        except (OSError, ssl.SSLError) as error:
            _log.warning(
                "%s: no certificates can be read from %s (%s); it is left out",
                variable,
                path,
                _reason(error),
            )
            return
        self._own.append(path)


def _check(path: Path) -> None:
    """Raise `OSError` or `SSLError` where no certificates can be read from the path."""
    status = path.stat()
    _try_out(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _try_out(path: Path, _mtime_ns: int, _size_bytes: int) -> None:
    """Load the certificates; of a file that has not changed, once in this process.

    A bundle of all public authorities takes 30 ms of CPU, and a worker makes several sessions.
    """
    _load(create_urllib3_context(), path)


def _load(context: ssl.SSLContext, path: Path) -> None:
    if path.is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(path)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
