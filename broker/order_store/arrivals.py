"""Slides of watched folders: which were taken, which wait for their policy, which were refused.

A courier takes each slide once, by path, size and time of its last change. The API places the
orders of what was taken: policies and destinations are its settings. What was taken is kept until
its orders are placed, so that neither's end loses a slide or orders it twice.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from broker.errors import Problem
from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable

_LEASE_MS: Final = 60_000
"""An arrival whose orders are being placed is nobody else's for so long."""
_MOST_TAKEN: Final = 50
_FORGET_FOLDER_S: Final = 400 * 86400
"""A folder that nobody has watched for so long is a new one."""
_SHOWN_MS: Final = 86_400_000


def folder_id(path: Path, policy: str | None) -> str:
    """Return what the record calls a watched folder."""
    return hashlib.sha256(f"{path}\0{policy or ''}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A slide that has arrived in a watched folder.

    `path` is where it is, `relative` the path below the folder. `identity` is what tells it from
    what was there under the same path before. `policy`: the only one that is looked at, if named.
    """

    folder: str
    path: str
    relative: str
    identity: str
    policy: str | None = None
    stain: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    modality: str | None = None
    mpp: float | None = None
    waits_for: str = ""
    """Why its orders could not be placed yet: an error code."""

    @property
    def id(self) -> str:
        """Return what the record calls it."""
        text = f"{self.relative}\0{self.identity}"
        return f"{self.folder}:{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    @property
    def json(self) -> str:
        """Return it as it is stored."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Look:
    """What the last look at a watched folder saw.

    `slides`: how many are there; `arriving`: of these, how many were not yet standing still.
    `fault`: why the folder, or a part of it, could not be looked at; empty = nothing.
    """

    path: str
    policy: str | None
    slides: int
    arriving: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class WatchedView:
    """A watched folder for people: its last look, what of it waits and what was refused."""

    look: Look
    courier: str
    """The courier that looks at it; empty = nobody does."""
    waiting: Mapping[str, str]
    """Paths whose orders could not be placed yet, with the code of the reason."""
    refused: Mapping[str, Mapping[str, Any]]
    """Paths whose orders were refused, with the problem."""


class Arrivals(StoreBase):
    """What is known of watched folders. Every method may raise `TemporaryError`."""

    def lead(self, folder: str, courier: str, for_s: float) -> bool:
        """Return whether this courier is the one that looks at the folder, for so long."""
        return bool(self._client.run("watch_lead", folder, courier, int(for_s * 1000)))

    def stop_leading(self, folder: str, courier: str) -> None:
        """Let another courier look at the folder."""
        self._client.run("watch_lead", folder, courier, 0)

    def taken(self, folder: str) -> dict[str, str] | None:
        """Return what each path was when it was taken; None for a folder that is new here."""
        with reachable():
            seen = self._client.records.hgetall(Key.WATCH_SEEN + folder)
        if not seen:
            return None
        seen.pop("", None)
        return dict(seen)

    def away(self, folder: str) -> set[str]:
        """Return the paths that were taken and are not there."""
        with reachable():
            return set(self._client.records.zrange(Key.WATCH_GONE + folder, 0, -1))

    def begin(self, folder: str, passed_over: Mapping[str, str]) -> None:
        """Begin the record of a folder, with the slides in it that are not to be ordered."""
        self._client.run("watch_begin", folder, json.dumps(dict(passed_over)))

    def arrive(self, arrival: Arrival) -> bool:
        """Take a slide; return False where it was taken before as it is now."""
        answer = self._client.run(
            "watch_arrive",
            arrival.folder,
            arrival.relative,
            arrival.identity,
            arrival.id,
            arrival.json,
        )
        return bool(answer == "new")

    def missed(
        self, folder: str, away: Iterable[str], back: Iterable[str], keep_s: float
    ) -> list[str]:
        """Note which paths are away, and which are back; return those that are forgotten now.

        A path is forgotten once it was away for `keep_s`. A disk that is not mounted for a while
        must not make every slide of it a new one.
        """
        return list(
            self._client.run_json(
                "watch_missed",
                folder,
                int(keep_s * 1000),
                json.dumps(sorted(away)),
                json.dumps(sorted(back)),
            )
        )

    def note_look(self, folder: str, look: Look) -> None:
        """Remember what the last look at the folder saw, and that the folder is watched."""
        with reachable():
            records = self._client.records
            noted = {"at_ms": self._now_ms(), **asdict(look)}
            records.hset(Key.WATCH_LOOKS, folder, json.dumps(noted))
            for key in (Key.WATCH_SEEN, Key.WATCH_GONE, Key.WATCH_REFUSED):
                records.expire(key + folder, _FORGET_FOLDER_S)
            for old, text in records.hgetall(Key.WATCH_LOOKS).items():
                if noted["at_ms"] - json.loads(text)["at_ms"] > _SHOWN_MS:
                    records.hdel(Key.WATCH_LOOKS, old)

    def take(self) -> list[Arrival]:
        """Return up to 50 arrivals whose orders are due, which nobody else gets for a minute."""
        taken = self._client.run_json("watch_take", _MOST_TAKEN, _LEASE_MS)
        return [Arrival(**json.loads(one["arrival"])) for one in taken]

    def end(self, arrival: Arrival, refused: Problem | None = None) -> None:
        """Forget an arrival whose orders are placed, or remember why one was refused."""
        text = ""
        if refused is not None:
            text = json.dumps(refused.as_dict())
        self._client.run("watch_end", arrival.folder, arrival.id, arrival.relative, text)

    def postpone(self, arrival: Arrival, code: str, delay_s: float) -> None:
        """Make an arrival due again after `delay_s`; `code` says why it waits."""
        waiting = replace(arrival, waits_for=code)
        self._client.run("watch_wait", arrival.id, waiting.json, int(delay_s * 1000))

    def watched(self) -> list[WatchedView]:
        """Return every watched folder as doctor shows it."""
        with reachable():
            records = self._client.records
            looks = records.hgetall(Key.WATCH_LOOKS)
            ids = records.zrange(Key.ARRIVALS, 0, 999)
            texts = []
            if ids:
                texts = records.mget([Key.ARRIVAL + one for one in ids])
            refused = {one: records.hgetall(Key.WATCH_REFUSED + one) for one in looks}
            couriers = {one: records.get(Key.WATCHERS + one) for one in looks}
        arrivals = [Arrival(**json.loads(text)) for text in texts if text]
        views = []
        for folder, text in sorted(looks.items()):
            look = json.loads(text)
            del look["at_ms"]
            waiting = {
                one.relative: one.waits_for
                for one in arrivals
                if one.folder == folder and one.waits_for
            }
            problems = {path: json.loads(why) for path, why in refused[folder].items()}
            views.append(WatchedView(Look(**look), couriers[folder] or "", waiting, problems))
        return views
