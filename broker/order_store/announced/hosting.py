"""Images, runnable containers and classes that the workers of each machine announced."""

import json
import logging
from collections.abc import Mapping

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.hosting import HostedPrograms, HostingMachine

FORGOTTEN_AFTER_S = 86_400
"""A machine whose workers announced nothing for so long is forgotten."""
_log = logging.getLogger(__name__)


class Hosting(StoreBase):
    """What the machines announced of the programs that they can run."""

    def announce_programs(self, machine: str, programs: HostedPrograms) -> None:
        """Replace what this machine announced, and forget machines that are long gone."""
        with reachable():
            records = self._client.records
            now_ms = self._now_ms()
            announced = {"at": now_ms, "programs": programs.model_dump(mode="json")}
            records.hset(Key.HOSTING, machine, json.dumps(announced))
            stored = records.hgetall(Key.HOSTING)
            known = {one.name for one in _machines(stored, now_ms)}
            gone = [name for name in stored if name not in known]
            if gone:
                records.hdel(Key.HOSTING, *gone)

    def hosting_machines(self) -> list[HostingMachine]:
        """Return the machines that announced programs, the one that did so last first.

        What cannot be read is left out.
        """
        with reachable():
            now_ms = self._now_ms()
            stored = self._client.records.hgetall(Key.HOSTING)
        machines = _machines(stored, now_ms)
        return sorted(machines, key=lambda machine: (machine.seen_s_ago, machine.name))


def _machines(stored: Mapping[str, str], now_ms: float) -> list[HostingMachine]:
    machines = []
    for name, text in stored.items():
        try:
            machine = HostingMachine.of(name, json.loads(text), now_ms)
        except (ValueError, TypeError) as error:
            _log.warning("what %s announced cannot be read: %s", name, type(error).__name__)
            continue
        if machine.seen_s_ago < FORGOTTEN_AFTER_S:
            machines.append(machine)
    return machines
