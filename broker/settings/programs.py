"""Settings of programs that a site brings: the classes of machines, and the variables of a program.

A class is what Techcyte's model hosting calls an instance type. A variable is given as a text, or
as the file that holds it, so that a secret need not stand in config.json.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import ByteSize, Discriminator, Field, SecretStr, Tag

from broker.settings.section import ConfigError, Section

PROGRAM_KINDS: Final = ("command", "container")
"""The kinds of algorithm that are a program of a site."""
PROGRAM_TIME_LIMIT_S: Final = 5400.0
"""How long a program may run where the settings do not say: as at Techcyte, 90 minutes."""
GIVEN_IN_EVERY_RUN: Final = frozenset(
    {"SCAN_URL", "SCAN_URL_ZIP", "SCAN_ID", "TASK_ID", "JWT_TOKEN", "DEBUG_FILE_UPLOAD_URL"}
)
"""Variables that differ from run to run; the settings cannot give them."""
ENGINES: Final = ("docker", "podman", "apptainer")
"""The container engines that can run an image."""
IMAGE_NAME: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._:/@+-]{0,499}")
"""Names of images, and paths of .sif files. None begins with a hyphen, so none is an option."""
_MAX_VALUE_BYTES: Final = 100_000
# Linux takes at most 131,071 bytes for a variable, its name included.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")


class MachineClass(Section):
    """A class of machines: the queue of its workers, and what one run may take there at most."""

    queue: str = Field(
        "gpu",
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="queue that the workers of this class wait on",
    )
    cpus: float | None = Field(
        None, ge=0.1, le=1024, description="CPUs of a run; null = all that the worker has"
    )
    memory: ByteSize | None = Field(
        None,
        ge=2**26,
        description='memory of a run: bytes, or a text like "16GB" or "16GiB"; null = all that the '
        "worker has",
    )
    gpus: int = Field(0, ge=0, description="GPUs of a run: 1, or 0 for none")


class ValueFile(Section):
    """The file that holds the value of a variable; read when a program starts."""

    file: Path


def _form(value: Any) -> str:
    if isinstance(value, Mapping | ValueFile):
        return "~file"
    return "~text"


ProgramVariables = dict[
    str,
    Annotated[
        Annotated[SecretStr, Tag("~text")] | Annotated[ValueFile, Tag("~file")],
        Discriminator(_form),
    ],
]
"""The variables of a program by name; the value, or the file that holds it."""


def revealed_variables(algorithm: str, variables: ProgramVariables) -> dict[str, str]:
    """Return the variables of the algorithm's program in clear. They are secrets.

    The line break at the end of a file is left out. Raise `ConfigError`, which repeats no value,
    for a name or a value that no program can have, and for a file that cannot be read.
    """
    revealed = {}
    for name, value in variables.items():
        key = f"worker.algorithms.{algorithm}: config: env.{name[:64]}"
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{key}: a name has letters, digits and _, and no digit in front")
        if name in GIVEN_IN_EVERY_RUN:
            raise ConfigError(f"{key}: every run is given its own; remove it")
        text = _text(key, value)
        if "\0" in text or len(text.encode(errors="surrogateescape")) > _MAX_VALUE_BYTES:
            raise ConfigError(
                f"{key}: a value has at most {_MAX_VALUE_BYTES:,} bytes, none of them zero"
            )
        revealed[name] = text
    return revealed


def _text(key: str, value: SecretStr | ValueFile) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    try:
        with value.file.open("rb") as file:
            content = file.read(_MAX_VALUE_BYTES + 2)
        return content.decode().rstrip("\r\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{key}: {value.file} cannot be read ({reason})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {value.file} is no text in UTF-8") from None
