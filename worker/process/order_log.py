"""Writes lines into the log of the order whose work is held."""

from collections.abc import Sequence
from contextlib import suppress

from broker.errors import TemporaryError
from broker.order_store import Claim, OrderStore


class OrderLog:
    """The log of one order, for lines of one piece of its work."""

    def __init__(self, store: OrderStore, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write the lines as long as Redis answers; raise `LeaseLostError`."""
        with suppress(TemporaryError):
            self._store.note(self._claim, lines=lines)
