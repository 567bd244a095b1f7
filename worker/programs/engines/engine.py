"""The engines: which one is there, which images it has, and how it fetches them."""

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, Protocol

from worker.programs.engines.engine_call import EngineError, call, unavailable

EngineName = Literal["docker", "podman", "apptainer"]
ENGINES: Final[tuple[EngineName, ...]] = ("docker", "podman", "apptainer")
_PULL_S: Final = 3600.0
_NO_IMAGE: Final = ("no such image", "no such object", "image not known", "not found")


class Engine(Protocol):
    """An engine that is installed."""

    name: EngineName
    program: str
    """The path of its client."""

    def version(self) -> str:
        """Return its version. Raise OrderError where it does not answer."""

    def digest(self, image: str) -> str | None:
        """Return the digest of an image, `sha256:…`, None where it is not on this machine.

        Raise OrderError where the engine does not answer.
        """

    def pull(self, image: str) -> None:
        """Fetch an image. Raise OrderError where the engine cannot."""


def chosen_engine(name: str = "") -> Engine:
    """Return the engine of this name; without a name the first that is there and answers.

    Raise OrderError where there is none.
    """
    if name:
        return _installed(name)
    reasons = []
    for known in ENGINES:
        if shutil.which(known) is None:
            continue
        engine = _installed(known)
        try:
            engine.version()
        except Exception as error:  # noqa: BLE001 - the next one may work
            reasons.append(str(error))
            continue
        return engine
    raise unavailable(
        "; ".join(reasons) or f"no engine for containers is there, none of {', '.join(ENGINES)}",
        "install one where the worker runs, or see docs/program-isolation.md for a worker in a "
        "container",
    )


class ImageEngine:
    """docker or podman, which keep images and containers themselves."""

    def __init__(self, name: Literal["docker", "podman"], program: str) -> None:
        self.name: EngineName = name
        self.program = program

    def version(self) -> str:
        """Return the version of what runs containers, which may be another process."""
        template = "{{.Client.Version}}"
        if self.name == "docker":
            template = "{{.Server.Version}}"
        return self._call("version", "--format", template)

    def digest(self, image: str) -> str | None:
        """Return the digest under which a registry knows the image, else the image's own id."""
        template = "{{range .RepoDigests}}{{.}} {{end}}{{.Id}}"
        try:
            words = call([self.program, "image", "inspect", "--format", template, image]).split()
        except EngineError as error:
            if any(text in str(error).lower() for text in _NO_IMAGE):
                return None
            raise self._does_not_answer(error) from None
        found = words[0].rpartition("@")[2]
        return found if ":" in found else f"sha256:{found}"

    def pull(self, image: str) -> None:
        """Fetch the image from its registry, with what the engine knows of logins."""
        try:
            call([self.program, "pull", "--quiet", image], _PULL_S)
        except EngineError as error:
            raise unavailable(
                f"{self.name} does not get the image {image}: {error}",
                f"try `{self.name} pull {image}` as the user of the worker",
            ) from None

    def ask(self, *words: str) -> str:
        """Return what the client answers. Raises EngineError."""
        return call([self.program, *words])

    def _call(self, *words: str) -> str:
        try:
            return self.ask(*words)
        except EngineError as error:
            raise self._does_not_answer(error) from None

    def _does_not_answer(self, error: EngineError) -> Exception:
        hint = "try `podman info` as the user of the worker"
        if self.name == "docker":
            hint = "the user of the worker needs its socket; see docs/program-isolation.md"
        return unavailable(f"{self.name} is there and does not answer: {error}", hint)


class Apptainer:
    """apptainer, whose images are files."""

    name: EngineName = "apptainer"

    def __init__(self, program: str) -> None:
        self.program = program

    def version(self) -> str:
        """Return its version."""
        try:
            return call([self.program, "version"])
        except EngineError as error:
            raise unavailable(
                f"apptainer is there and does not answer: {error}", "try `apptainer version`"
            ) from None

    def digest(self, image: str) -> str | None:
        """Return the SHA-256 of the file, which is read once, or `folder` for a folder."""
        path = Path(image)
        if path.is_dir():
            return "folder"
        if not path.is_file():
            return None
        status = path.stat()
        return _file_digest(image, status.st_mtime_ns, status.st_size)

    def pull(self, image: str) -> None:
        """Raise OrderError: its images are files, and only the operator knows where they lie."""
        raise unavailable(
            f"apptainer runs files, and {image} is none",
            "make one by `apptainer pull NAME.sif docker://IMAGE`, and give its path as the image",
        )


@lru_cache(maxsize=64)
def _file_digest(path: str, _changed_ns: int, _size_bytes: int) -> str:
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _installed(name: str) -> Engine:
    program = shutil.which(name)
    if name not in ENGINES:
        raise unavailable(f"there is no engine {name!r}", f"there are: {', '.join(ENGINES)}")
    if program is None:
        raise unavailable(
            f"{name} is not installed where the worker runs",
            f"install it, or name another engine: {', '.join(ENGINES)}",
        )
    if name == "apptainer":
        return Apptainer(program)
    return ImageEngine("docker" if name == "docker" else "podman", program)


def is_root() -> bool:
    """Whether this process is root's, so that it may remove what containers have written."""
    return os.geteuid() == 0
