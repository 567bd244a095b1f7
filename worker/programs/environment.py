"""The variables that a program is given: those of Techcyte's model hosting, and what leads to us.

The names are Techcyte's (Techcyte/devkit, `docs/guides/model-hosting-service`). What leads to us
are proxies and certificates, by the names that HTTP libraries look for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.errors import OrderError
from worker.programs.results_receiver.received import RunIdentity

_DIRECT: Final = "127.0.0.1,localhost"
"""What is reached without the proxy, beside what serves the slide and takes the debug file."""
_OF_WORKER: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
"""What a command gets of the worker's own environment; an image has its own."""
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVELOPMENT: Final = "DEV"
"""`DEV=1` makes an image of Techcyte's first generation read /input and write /output."""


@dataclass(frozen=True, slots=True)
class RunAddresses:
    """Where the program finds what, as URLs; `zip` is empty for a slide of one file."""

    slide: str
    zip: str
    debug: str
    proxy: str


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """Certificates as the program sees them: ours alone, and ours with the public ones."""

    authority: Path
    bundle: Path


def run_environment(
    run: RunIdentity, addresses: RunAddresses, trust: TrustFiles, own: Mapping[str, str]
) -> dict[str, str]:
    """Return all variables of a run. `own` are the site's and the order's; they change none."""
    given = {
        "SCAN_URL": addresses.slide,
        "HOST": run.host,
        "TASK_ID": run.task_id,
        "SCAN_ID": run.scan_id,
        "JWT_TOKEN": run.token,
        "DEBUG_FILE_UPLOAD_URL": addresses.debug,
        **_proxies(addresses.proxy),
        **_trust(trust),
        "PYTHONUNBUFFERED": "1",  # what it prints is followed while it runs
    }
    if addresses.zip:
        given["SCAN_URL_ZIP"] = addresses.zip
    return {**own, **given}


def of_worker() -> dict[str, str]:
    """Return what a command gets of the worker's own environment."""
    found = {name: os.environ[name] for name in _OF_WORKER if name in os.environ}
    return {"PATH": _DEFAULT_PATH, "HOME": "/tmp", "TMPDIR": "/tmp", **found}  # noqa: S108 - its own


def is_development(own: Mapping[str, str]) -> bool:
    """Return whether the variables ask for the mode without network: `DEV=1`."""
    return own.get(_DEVELOPMENT) == "1"


def parameter_variables(parameters: Mapping[str, object]) -> dict[str, str]:
    """Return an order's parameters as variables. Raise `OrderError` for one that cannot be."""
    variables = {}
    for name, value in parameters.items():
        if value is None:
            continue
        text = str(value)
        if isinstance(value, bool):
            text = str(value).lower()
        if "\0" in text:
            raise OrderError(
                "parameters_invalid",
                f"parameters.{name}: a variable of a program holds no zero byte",
                field=f"parameters.{name}",
            )
        variables[name] = text
    return variables


def _proxies(proxy: str) -> dict[str, str]:
    """Return the variables that lead HTTP clients to our proxy, in both ways to write them."""
    variables = {"NODE_USE_ENV_PROXY": "1"}  # Node from 24 on
    direct = f"{_DIRECT},{urlsplit(proxy).hostname}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        variables[name] = proxy
        variables[name.lower()] = proxy
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = direct
    return variables


def _trust(trust: TrustFiles) -> dict[str, str]:
    """Return the variables by which HTTP clients trust our certificate."""
    variables = {
        name: str(trust.bundle)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
    }
    variables["NODE_EXTRA_CA_CERTS"] = str(trust.authority)
    return variables
