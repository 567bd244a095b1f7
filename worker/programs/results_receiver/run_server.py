"""What the server of one run answers with: the slide, the certificates, and what has come in."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from worker.programs.results_receiver.certificates import RunCertificates
from worker.programs.results_receiver.received import Received, RunIdentity
from worker.programs.results_receiver.slide_files import SlideFiles

MAX_POST_BYTES: Final = 100 * 10**6
"""The largest results that are taken: a whole slide with 94,599 outlines has 32 MB."""
MAX_DEBUG_BYTES: Final = 200 * 10**6


def _secret() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class RunServer:
    """One run, as its connections share it.

    The paths hold a secret each: other programs of the machine can connect to the server too.
    """

    identity: RunIdentity
    certificates: RunCertificates
    received: Received
    slide: SlideFiles
    folder: Path
    allowed_hosts: frozenset[str] = frozenset()
    max_post_bytes: int = MAX_POST_BYTES
    max_debug_bytes: int = MAX_DEBUG_BYTES
    secret: str = field(default_factory=_secret, repr=False)

    @property
    def slide_path(self) -> str:
        """Return the path of the slide's main file; it ends in the name of the file."""
        return f"/slides/{self.secret}/{quote(self.slide.main.name)}"

    @property
    def zip_path(self) -> str:
        """Return the path of an archive with all files of the slide."""
        return f"/slides/{self.secret}/slide.zip"

    @property
    def debug_path(self) -> str:
        """Return the path that a debug file is put to."""
        return f"/debug/{self.secret}"
