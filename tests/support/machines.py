"""Several machines: processes that share a Redis, a storage and nothing else. Each machine has its own disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from tests.support.stack import Stack


class Machines(Stack):
    """A role's last letter is its machine: `worker-b` keeps its data in `<data>/b`. None runs until it is started."""

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
        """Start one process on its machine."""
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
        """The machine's data folder."""
        return self.data / machine

    def files(self, machine: str, below: str = ".") -> list[Path]:
        """Every file on its disk."""
        return [path for path in (self.disk(machine) / below).rglob("*") if path.is_file()]

    def said(self, role: str) -> str:
        """What the process has written."""
        return (self.data / f"{role}.log").read_text()
