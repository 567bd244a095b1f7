"""Runs `slidelane` as a person does: in a process, with no setting but those given."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.stack import free_port

LIMIT_S = 170


def clean_environment(**env: str) -> dict[str, str]:
    """Return our environment with these variables and no other setting of Slidelane.

    Redis is looked for where nobody listens, unless a variable says otherwise.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    dark = {"SLIDELANE_BROKER__REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    return clean | dark | {"PYTHONPATH": str(ROOT)} | env


def slidelane(
    *arguments: object, cwd: Path = ROOT, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run `slidelane …` to its end and return what it printed."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=clean_environment(**env),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def begin(*arguments: object, cwd: Path = ROOT, **env: str) -> "subprocess.Popen[str]":
    """Start `slidelane …`; its stderr can be read."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments), cwd=cwd, env=clean_environment(**env), **options)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "slidelane", *map(str, arguments)]
