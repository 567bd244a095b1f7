"""The race in rounds: all run once, then again, so that they meet the same machine. Kept in `.bench/race.json`."""

import json
from collections.abc import Callable, Iterable, Mapping

from benchmarks.comparison import Row
from benchmarks.peers import summary, workload
from benchmarks.peers.contestants import DECODE, FEED, FORWARD, OURS, PEERS, Contestant, Outcome
from benchmarks.peers.task import Task
from benchmarks.peers.virtualenvs import KEPT
from worker.process.cgroup_limits import granted_cores

Say = Callable[[str], None]


def measure(
    rounds: int, edge_px: int, most_tiles: Mapping[str, int], where: str, say: Say
) -> list[Row]:
    """Each network on so many tiles of a slide of this edge; whoever cannot be installed or fails is left out."""
    threads = granted_cores()
    field = _ready((FEED, *OURS, *PEERS), say)
    rows, kept = [], {}
    with workload.laid(edge_px, most_tiles, threads) as tasks:
        for network, task in tasks.items():
            on = f"{threads} threads, {task.device}"
            say(f"{network}: {len(task.corners):,} tiles of {edge_px:,} x {edge_px:,} px, {on}")
            done, racing = [], field
            for number in range(1, rounds + 1):
                found = _round(racing, task, say)
                racing = [one for one in racing if one.name in found]
                done.append(found)
                say(f"round {number} of {rounds}")
            full = [
                {name: one for name, one in found.items() if name in done[-1]} for found in done
            ]
            for line in summary.lines(full):
                say(line)
            rows += summary.rows(network, full)
            kept[network] = [{name: _kept(one) for name, one in found.items()} for found in full]
    (KEPT / "race.json").write_text(
        json.dumps({"where": where, "threads": threads, "rounds": kept}, indent=1)
    )
    return rows


def _ready(wanted: Iterable[Contestant], say: Say) -> list[Contestant]:
    """The limits, without which nothing can be said, and whoever else can be installed."""
    ready = [DECODE, FORWARD]
    for one in ready:
        one.python(say)
    for one in wanted:
        try:
            one.python(say)
        except RuntimeError as error:
            say(f"{one.name} is left out: {error}")
        else:
            ready.append(one)
    return ready


def _round(racing: Iterable[Contestant], task: Task, say: Say) -> dict[str, Outcome]:
    found = {}
    for one in racing:
        try:
            found[one.name] = one.run(task, say)
        except (RuntimeError, TimeoutError) as error:
            if one in {DECODE, FORWARD}:
                raise
            say(f"{one.name} is left out: {error}")
    return found


def _kept(outcome: Outcome) -> dict[str, object]:
    return {
        "peer": outcome.peer, "version": outcome.version, "tiles": outcome.tiles, "seconds": outcome.seconds,
        "peak_rss_bytes": outcome.peak_bytes, "gpu_busy": outcome.gpu_busy,
    }  # fmt: skip
