"""The image definitions of this machine: a file in the data folder.

`slidelane image` changes it, and workers read it. An image that an algorithm of the settings names
needs no definition.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from broker.data_folder import make_private
from broker.settings.section import ConfigError
from worker.disk import sync_file, sync_folder

FILE: Final = "images.json"
MOST_IMAGES: Final = 500
MOST_NAME_CHARACTERS: Final = 100
_MOST_BYTES: Final = 2 * 10**6


class ImageDefinition(BaseModel):
    """One image that somebody defined on this machine. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1, max_length=MOST_NAME_CHARACTERS)
    image: str = Field(min_length=1, max_length=500, description="as its engine names it")
    engine: str = Field("", description="docker, podman or apptainer; empty = the first that works")
    failure: str = Field("", description="why the last attempt to bring it here failed")
    created_by: str
    created_at: float
    updated_at: float


_DEFINITIONS: Final = TypeAdapter(tuple[ImageDefinition, ...])


class ImageDefinitions:
    """The file of the definitions. Several processes may read and change it."""

    def __init__(self, data: Path) -> None:
        """Touch nothing yet. `data`: the data folder."""
        self._file = data / FILE

    def all(self) -> tuple[ImageDefinition, ...]:
        """Return the definitions by name. Raise `ConfigError` where the file cannot be read."""
        try:
            with self._file.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigError(f"{self._file} cannot be read ({error.strerror})") from None
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"{self._file} has more than {_MOST_BYTES:,} bytes")
        try:
            return _DEFINITIONS.validate_json(content)
        except ValidationError:
            raise ConfigError(
                f"{self._file} is damaged; remove it and define its images again"
            ) from None

    def find(self, word: str) -> ImageDefinition | None:
        """Return the definition with this name or of this image. Raise `ConfigError`."""
        for definition in self.all():
            if word in (definition.name, definition.image):
                return definition
        return None

    def put(self, definition: ImageDefinition) -> None:
        """Keep the definition in place of one of the same image.

        Raise `ConfigError` where the name belongs to another image, and where there is no room.
        """
        with self._locked():
            others = [one for one in self.all() if one.image != definition.image]
            for one in others:
                if one.name == definition.name:
                    raise ConfigError(
                        f"the name {one.name} is that of the image {one.image}; choose another"
                    )
            if len(others) >= MOST_IMAGES:
                raise ConfigError(f"there are {MOST_IMAGES} images; remove one first")
            self._write([*others, definition])

    def remove(self, image: str) -> None:
        """Forget the definition of this image. Raise `ConfigError`."""
        with self._locked():
            self._write([one for one in self.all() if one.image != image])

    def _write(self, definitions: Sequence[ImageDefinition]) -> None:
        by_name = sorted(definitions, key=lambda one: one.name)
        text = json.dumps([one.model_dump() for one in by_name], indent=2)
        folder = self._file.parent
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{FILE}-", delete=False) as file:
            file.write(text + "\n")
        try:
            sync_file(Path(file.name))
            os.replace(file.name, self._file)  # noqa: PTH105 - both are names of one folder
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
        sync_folder(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let nobody else change the file meanwhile. Raise `ConfigError` where it is read-only."""
        try:
            make_private(self._file.parent)
            with (self._file.parent / f".{FILE}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ConfigError(f"{self._file} cannot be written ({error.strerror})") from None
