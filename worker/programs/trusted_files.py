"""The files in which programs look for the certificates that they trust.

A client that names such a file in its code is not reached by the environment; with a mount it finds
the certificates of the run there as well.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from requests.utils import DEFAULT_CA_BUNDLE_PATH

_OF_SYSTEMS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_CERTIFI: Final = "lib/python3*/site-packages/certifi/cacert.pem"
_MOST: Final = 8


def bundle_places(argv: Sequence[str]) -> list[str]:
    """Return the files of this machine that a command takes for its trusted certificates.

    These are the system's, ours, and that of the Python environment whose program it is.
    """
    places = [path for path in (*_OF_SYSTEMS, DEFAULT_CA_BUNDLE_PATH) if Path(path).is_file()]
    program = shutil.which(argv[0])
    if program:
        environment = Path(program).absolute().parent.parent
        places += [str(path) for path in sorted(environment.glob(_CERTIFI))[:_MOST]]
    return list(dict.fromkeys(places))


def bundle_places_in_image() -> list[str]:
    """Return the same for an image, where nobody can look before it runs."""
    return list(_OF_SYSTEMS[:1])
