"""The feed of changes: what became of all orders, in the order in which it happened.

The scripts that change an order add to it in the same step, so no change is missing and none is
told that did not happen. The oldest entries are dropped when there are more than about 10,000.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable

BEGINNING: Final = "0-0"
"""The position before the first change of an empty feed."""
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one order.

    `scan` is the number of the scan that changed, None where the order itself did. Of `state`,
    `progress` (JSON), `attempt` (of the delivery) and `line` (of the log) one is given.
    `created_by`: who placed the order, of one that was deleted.
    """

    id: str
    order_id: str
    scan: int | None = None
    state: str = ""
    progress: str = ""
    attempt: str = ""
    line: str | None = None
    created_by: str = ""

    @classmethod
    def of(cls, entry_id: str, fields: Mapping[str, str]) -> "Change":
        """Return the change of an entry of the stream."""
        scan = None
        if "scan" in fields:
            scan = int(fields["scan"])
        return cls(
            entry_id,
            fields["order"],
            scan,
            fields.get("state", ""),
            fields.get("progress", ""),
            fields.get("attempt", ""),
            fields.get("log"),
            fields.get("created_by", ""),
        )

    @property
    def at_s(self) -> float:
        """When it happened, in seconds since 1970 by Redis' clock."""
        return int(self.id.partition("-")[0]) / 1000


class Changes(StoreBase):
    """Reading the feed. A position is the id of a change: what comes after it is new."""

    def last_change(self) -> str:
        """Return the position of now."""
        with reachable():
            entries = self._client.records.xrevrange(Key.CHANGES, count=1)
        if not entries:
            return BEGINNING
        return str(entries[0][0])

    def knows_change(self, position: str) -> bool:
        """Return whether everything after the position is still in the feed."""
        with reachable():
            if position == BEGINNING:
                return int(self._client.records.xlen(Key.CHANGES)) < _KEPT
            return bool(self._client.records.xrange(Key.CHANGES, position, position, count=1))

    def changes_between(self, after: str, last: str = "+", limit: int = 500) -> list[Change]:
        """Return the changes after one position up to another, oldest first, at most `limit`."""
        with reachable():
            entries = self._client.records.xrange(Key.CHANGES, f"({after}", last, count=limit)
        return _changes(entries)

    def next_changes(self, after: str, wait_s: float, limit: int = 500) -> list[Change]:
        """Return the changes after a position; wait for one if there is none yet."""
        with reachable():
            found = self._client.records.xread(
                {Key.CHANGES.value: after}, count=limit, block=int(wait_s * 1000)
            )
        if not found:
            return []
        ((_, entries),) = found
        return _changes(entries)


def _changes(entries: Any) -> list[Change]:
    return [Change.of(entry_id, fields) for entry_id, fields in entries]
