"""Runs all contestants in rounds, so that they meet the same load of the machine.

The results are written to `.bench/race.json`.
"""

import json
from collections.abc import Callable, Iterable, Mapping

from benchmarks.comparison import Comparison
from benchmarks.peers import summary, workload
from benchmarks.peers.contestants import DECODE, FEED, FORWARD, OURS, PEERS, Contestant, Outcome
from benchmarks.peers.task import Task
from benchmarks.peers.virtualenvs import CACHE
from worker.process.cgroup_limits import granted_cores

Report = Callable[[str], None]


def measure(
    rounds: int, edge_px: int, most_tiles: Mapping[str, int], where: str, report: Report
) -> list[Comparison]:
    """Measure each network on at most so many tiles of a slide of this edge.

    A contestant that cannot be installed, or fails, is left out.
    """
    threads = granted_cores()
    installed = _installed((FEED, *OURS, *PEERS), report)
    rows = []
    results = {}
    with workload.prepare(edge_px, most_tiles, threads) as tasks:
        for network, task in tasks.items():
            on = f"{threads} threads, {task.device}"
            report(f"{network}: {len(task.corners):,} tiles of {edge_px:,} x {edge_px:,} px, {on}")
            done = []
            running = installed
            for number in range(1, rounds + 1):
                outcomes = _round(running, task, report)
                running = [one for one in running if one.name in outcomes]
                done.append(outcomes)
                report(f"round {number} of {rounds}")
            complete = [_only(outcomes, running) for outcomes in done]
            for line in summary.lines(complete):
                report(line)
            rows += summary.rows(network, complete)
            results[network] = [_as_dicts(outcomes) for outcomes in complete]
    (CACHE / "race.json").write_text(
        json.dumps({"where": where, "threads": threads, "rounds": results}, indent=1)
    )
    return rows


def _only(outcomes: Mapping[str, Outcome], running: Iterable[Contestant]) -> dict[str, Outcome]:
    """Return the outcomes of the contestants that took part in every round."""
    names = {one.name for one in running}
    return {name: outcome for name, outcome in outcomes.items() if name in names}


def _installed(contestants: Iterable[Contestant], report: Report) -> list[Contestant]:
    """Return the limits, which are needed in any case, and all others that can be installed."""
    ready = [DECODE, FORWARD]
    for one in ready:
        one.python(report)
    for one in contestants:
        try:
            one.python(report)
        except RuntimeError as error:
            report(f"{one.name} is left out: {error}")
        else:
            ready.append(one)
    return ready


def _round(running: Iterable[Contestant], task: Task, report: Report) -> dict[str, Outcome]:
    outcomes = {}
    for one in running:
        try:
            outcomes[one.name] = one.run(task, report)
        except (RuntimeError, TimeoutError) as error:
            if one in {DECODE, FORWARD}:
                raise
            report(f"{one.name} is left out: {error}")
    return outcomes


def _as_dicts(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, object]]:
    return {name: _as_dict(outcome) for name, outcome in outcomes.items()}


def _as_dict(outcome: Outcome) -> dict[str, object]:
    return {
        "peer": outcome.peer,
        "version": outcome.version,
        "tiles": outcome.tiles,
        "seconds": outcome.seconds,
        "peak_rss_bytes": outcome.peak_bytes,
        "gpu_busy": outcome.gpu_busy,
    }
