"""Programs of a site as one machine announces them: images, runnable containers, classes.

The names are those of Techcyte's model hosting. No value of a variable is in them.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

ImageStatus = Literal["created", "uploaded", "failed"]
"""`created`: the image is defined, and not on the machine. `uploaded`: it is there. `failed`: it
was to be brought there, and that failed."""
FROM_CONFIG: Final = "config.json"
"""`created_by` of an image that only an algorithm of the settings names."""


class _Announced(BaseModel):
    # Fields of a newer version are ignored: several versions may share one Redis.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ImageCard(_Announced):
    """An image definition, and what the engine of one machine knows of the image."""

    name: str = Field(description="what people call it")
    image: str = Field(description="as its engine names it")
    status: ImageStatus
    failure: str = Field("", description="why it is not there; empty where it is")
    digest: str = Field("", description="digest of the image, where it is there")
    engine: str = Field("", description="the engine that has it: docker, podman or apptainer")
    created_by: str
    created_at: float | None = Field(
        None, description="seconds since 1970; None for one that only the settings name"
    )
    updated_at: float | None = Field(None, description="when it was last added or pulled")


class ContainerCard(_Announced):
    """A runnable container: an algorithm of kind `container`, or of kind `command`."""

    name: str = Field(description="the algorithm, as orders name it")
    kind: Literal["command", "container"]
    image: str = Field("", description="empty for a command")
    class_name: str = Field("", description="its class; empty = none")
    queue: str
    time_limit_s: float
    variables: tuple[str, ...] = Field((), description="names of the variables of the site")


class MachineClassCard(_Announced):
    """A class of machines; None = all that the worker has."""

    name: str
    queue: str
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: int = 0


class HostedPrograms(_Announced):
    """What one machine announces."""

    images: tuple[ImageCard, ...] = ()
    containers: tuple[ContainerCard, ...] = ()
    classes: tuple[MachineClassCard, ...] = ()


class HostingMachine(_Announced):
    """A machine with workers, and what they last announced."""

    name: str
    seen_s_ago: float
    programs: HostedPrograms

    @classmethod
    def of(cls, name: str, announced: Any, now_ms: float) -> "HostingMachine":
        """Return what was stored. Raise `ValueError` or `TypeError` where it cannot be read."""
        if not isinstance(announced, dict) or not isinstance(announced.get("at"), int | float):
            raise TypeError("no time is stated")
        seen_s_ago = max(0.0, (now_ms - announced["at"]) / 1000)
        programs = HostedPrograms.model_validate(announced.get("programs"))
        return cls(name=name, seen_s_ago=seen_s_ago, programs=programs)
