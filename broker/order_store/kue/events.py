"""The events of Kue's jobs that are still to be published, as the Lua scripts noted them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from broker.order_store.keys import Key
from broker.order_store.kue.document import KueJob
from broker.order_store.redis_client import StoreBase, reachable


@dataclass(frozen=True, slots=True)
class KueEvent:
    """One event. `made`: how many attempts were made before it."""

    id: str
    job: int
    name: str
    type: str
    text: str
    made: int

    @classmethod
    def of(cls, entry_id: str, fields: Mapping[str, str]) -> Self:
        """Return the event of an entry of the stream."""
        return cls(
            entry_id,
            int(fields["job"]),
            fields["event"],
            fields["type"],
            fields["text"],
            int(fields["made"]),
        )

    def message(self, job: KueJob | None) -> dict[str, Any]:
        """Return what Kue publishes of the event. `job` is None where it is removed meanwhile."""
        shown_id: int | str = self.job
        if self.name == "remove" and self.text == "asked":
            shown_id = str(self.job)  # Kue passes the word of the path on
        arguments = self._arguments(job)
        return {"id": shown_id, "event": self.name, "args": [self.name, *arguments]}

    def _arguments(self, job: KueJob | None) -> list[Any]:
        message = self.text.partition("\n")[0]
        why = self.text
        if job and job.error:
            why = job.error
            message = why.partition("\n")[0]
        match self.name:
            case "enqueue" | "remove":
                return [self.type]
            case "start":
                return [self.type, None]
            case "complete":
                result = None
                if job:
                    result = job.result
                return [result, None]
            case "failed attempt":
                return [self.text.partition("\n")[0], self.made]
            case "failed":
                return [message, None]
            case _:
                return [why]


class KueEvents(StoreBase):
    """The stream of events, of which one publisher at a time takes what is new."""

    def lead(self, name: str, for_s: float, published: str = "") -> str | None:
        """Lead the publishing for a while, having published all up to the event `published`.

        Return the id of the last event that was published, or None where another one leads.
        """
        last = self._client.run("kue_lead", name, int(for_s * 1000), published)
        return str(last) or None

    def after(self, last: str, limit: int = 100) -> list[KueEvent]:
        """Return the events after the one with this id, oldest first."""
        with reachable():
            entries = self._client.records.xrange(Key.KUE_EVENTS, f"({last}", "+", count=limit)
        return [KueEvent.of(entry_id, fields) for entry_id, fields in entries]
