"""Summarises the rounds: medians, shares of the limit, and whether the results agree."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.comparison import Comparison
from benchmarks.peers.contestants import DECODE, FEED, FORWARD, OURS, Outcome

LIMIT = "the limit, float32"
REFERENCE = "plain loop"
"""OpenSlide's pixels, one tile at a time: what all probabilities are compared with."""
Round = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two lists of probabilities for the same tiles agree."""

    same_class_share: float
    most_apart: float

    @classmethod
    def of(cls, one: Outcome, other: Outcome) -> "Agreement | None":
        """Return None where one of them has no probabilities."""
        if one.probabilities is None or other.probabilities is None:
            return None
        same = one.probabilities.argmax(axis=1) == other.probabilities.argmax(axis=1)
        return cls(float(same.mean()), float(np.abs(one.probabilities - other.probabilities).max()))


def limit(done: Round) -> float:
    """Return the tiles per second of the slower of decoding alone and the network alone."""
    return min(done[DECODE.name].tiles_per_s, done[FORWARD.name].tiles_per_s)


def lines(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield one line for each contestant, the fastest first."""
    names = sorted(rounds[0], key=lambda name: -_rate(rounds, name))
    for name in names:
        last = rounds[-1][name]
        shares = [done[name].tiles_per_s / limit(done) for done in rounds]
        peak_mb = median(done[name].peak_bytes for done in rounds) / 1e6
        yield (
            f"  {name:28} {last.version:8} {_rate(rounds, name):8,.0f} tiles/s, "
            f"{median(shares):5.2f} of the limit ({min(shares):.2f} to {max(shares):.2f}), "
            f"{last.tiles:,} tiles, {peak_mb:6,.0f} MB"
            f"{_gpu(rounds, name)}{_agreement(rounds[-1], name)}"
        )


def _agreement(last: Round, name: str) -> str:
    if REFERENCE not in last:
        return ""
    agreed = Agreement.of(last[name], last[REFERENCE])
    if agreed is None:
        return ""
    return f"; same class {agreed.same_class_share:.2%}, at most {agreed.most_apart:.1e} apart"


def _gpu(rounds: Sequence[Round], name: str) -> str:
    known = [done[name].gpu_busy for done in rounds]
    shares = [share for share in known if share is not None]
    if not shares:
        return ""
    return f", GPU busy {median(shares):.0%}"


def rows(what: str, rounds: Sequence[Round]) -> list[Comparison]:
    """Compare each of ours with the limit and every peer, and our feed with decoding alone."""
    mine = [one.name for one in OURS if one.name in rounds[0]]
    peers = [
        name for name in rounds[0] if name not in {*mine, DECODE.name, FORWARD.name, FEED.name}
    ]
    pairs = [(name, other) for name in mine for other in (LIMIT, *peers)]
    if FEED.name in rounds[0]:
        pairs.append((FEED.name, DECODE.name))
    return [
        Comparison(
            f"{what}, {name}",
            "tiles/s",
            _rate(rounds, name),
            other,
            median(_rates(rounds, other)),
            tuple(
                own / theirs
                for own, theirs in zip(_rates(rounds, name), _rates(rounds, other), strict=True)
            ),
        )
        for name, other in pairs
    ]


def _rates(rounds: Sequence[Round], name: str) -> list[float]:
    if name == LIMIT:
        return [limit(done) for done in rounds]
    return [done[name].tiles_per_s for done in rounds]


def _rate(rounds: Sequence[Round], name: str) -> float:
    return median(_rates(rounds, name))
