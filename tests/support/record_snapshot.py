"""A snapshot of the whole record, read without the store, and a way to let its time pass.

Knows the names of the keys (as literals, to find out when one changes) and no rules.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from broker.orders.order import TRANSITIONS

Fields = dict[str, str]
_TAKE = """
local read = {
  hash = function(key) return redis.call('HGETALL', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return redis.call('SORT', key, 'ALPHA') end,
  stream = function(key) return redis.call('XRANGE', key, '-', '+') end,
  string = function(key) return {redis.call('GET', key)} end,
}
local found, clock = {}, redis.call('TIME')
for _, key in ipairs(redis.call('KEYS', 'sl:*')) do
  local kind = redis.call('TYPE', key).ok
  found[#found + 1] = {key, kind, read[kind](key)}
end
return cjson.encode({clock[1] * 1000 + clock[2] / 1000, found})
"""
_PASS = """
for _, pattern in ipairs({'sl:due', 'sl:ended', 'sl:waiting:*'}) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ARGV[1], member) end
  end
end
for _, pattern in ipairs({'sl:order:*', 'sl:scan:*'}) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    for _, field in ipairs({'lease_until', 'expires_at', 'created_at', 'updated_at', 'dies_at'}) do
      if tonumber(redis.call('HGET', key, field) or '0') > 0 then redis.call('HINCRBY', key, field, -ARGV[1]) end
    end
  end
end
for _, key in ipairs(redis.call('KEYS', 'sl:key:*')) do
  redis.call('PEXPIRE', key, math.max(0, redis.call('PTTL', key) - ARGV[1]))
end
"""


def pass_time(records: Any, seconds: float) -> None:
    """Make everything that is stored this much older; Redis' own clock stays as it is."""
    records.eval(_PASS, 0, int(seconds * 1000))


def _read(kind: str, flat: Any) -> Any:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if kind in ("hash", "zset") else list(flat)


@dataclass(frozen=True)
class Snapshot:
    """Every key and its value at one moment of Redis' clock. Two are equal if nothing changed."""

    keys: dict[str, Any]
    at_ms: float = field(compare=False)

    @classmethod
    def take(cls, records: Any) -> Self:
        """Return the record as it is now."""
        at_ms, found = json.loads(records.eval(_TAKE, 0))
        return cls({key: _read(kind, flat) for key, kind, flat in found}, at_ms)

    def below(self, prefix: str) -> dict[str, Any]:
        """Return the values of the keys with this prefix, by the rest of the key."""
        return {
            key.removeprefix(prefix): held
            for key, held in self.keys.items()
            if key.startswith(prefix)
        }

    @cached_property
    def orders(self) -> dict[str, Fields]:
        """The hash of each order, oldest first."""
        return dict(
            sorted(self.below("sl:order:").items(), key=lambda item: int(item[1]["number"]))
        )

    @cached_property
    def works(self) -> dict[str, Fields]:
        """The hash of everything that can be claimed: scans, and orders for their delivery."""
        scans = self.below("sl:scan:")
        return {
            work: scans.get(work, order)
            for id_, order in self.orders.items()
            for work in (id_, *(f"{id_}.{index}" for index in range(int(order["scans"]))))
        }

    def scans(self, order_id: str) -> list[Fields]:
        """Return the hashes of the scans of one order."""
        return [
            self.works[f"{order_id}.{index}"]
            for index in range(int(self.orders[order_id]["scans"]))
        ]

    def ended(self, order_id: str) -> bool:
        """Return whether the order has ended."""
        return not TRANSITIONS["order"][self.orders[order_id]["state"]]

    def log(self, order_id: str) -> list[str]:
        """Return the lines of the order's log, oldest first."""
        return [json.loads(line)["text"] for line in self.keys[f"sl:log:{order_id}"]]

    def waits(self) -> dict[str, tuple[str, float]]:
        """Return the work that waits: its queue, and since when (ms)."""
        queues = self.below("sl:waiting:")
        return {
            work: (queue, float(since))
            for queue, held in queues.items()
            for work, since in held.items()
        }

    def held(self) -> dict[str, str]:
        """Return the work that is held, and its worker."""
        return {
            work: fields["worker"]
            for work, fields in self.works.items()
            if int(fields["lease_until"]) > 0
        }

    def ready(self) -> list[str]:
        """Return the work that may be claimed at once, in the order of the record."""
        waits = self.waits()
        return [work for work in self.works if work in waits and waits[work][1] <= self.at_ms]
