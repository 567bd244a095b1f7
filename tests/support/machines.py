"""Several machines: processes that share only a Redis and a storage, each with its own disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from tests.support.stack import Stack


class Machines(Stack):
    """Processes on several machines. None runs until it is started.

    The last letter of a role is its machine: `worker-b` keeps its data in `<data>/b`.
    """

    roles: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, data: Path, roots: Iterable[Path], storage: str, settings: dict[str, str]
    ) -> None:
        super().__init__(data, roots)
        self.env |= {
            "SLIDELANE_BROKER__STORAGE": storage,
            "SLIDELANE_WORKER__THREADS": "1",
            **settings,
        }

    def start(self, role: str, **settings: str) -> None:
        """Start the process of one role on its machine."""
        data = self.disk(role[-1])
        data.mkdir(exist_ok=True)
        redis_url = (self.data / "redis" / "url").read_text()
        super().start(
            role,
            SLIDELANE_BROKER__REDIS_URL=redis_url,
            SLIDELANE_BROKER__DATA=str(data),
            **settings,
        )

    def disk(self, machine: str) -> Path:
        """Return the data folder of a machine."""
        return self.data / machine

    def files(self, machine: str, below: str = ".") -> list[Path]:
        """Return every file on the disk of a machine, or in its folder `below`."""
        return [path for path in (self.disk(machine) / below).rglob("*") if path.is_file()]

    def said(self, role: str) -> str:
        """Return the log of the process."""
        return (self.data / f"{role}.log").read_text()
