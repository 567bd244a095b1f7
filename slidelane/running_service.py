"""Finds the service that runs on the settings of this shell, and says what it reports of itself.

Its own settings may differ from those of the shell: it was started elsewhere, or before they were
changed. So `slidelane doctor` shows what the service says, not what the shell would start.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

from broker.diagnostics import Row
from broker.errors import TemporaryError
from broker.order_store import OrderStore, WorkerView
from broker.order_store.announced.workers import reasons_of
from broker.queue.names import COURIER_QUEUES, base_of, is_on_this_machine
from broker.settings.config import PREFIX, Config
from slidelane.http_probe import NoAnswerError, base_url, get


def workers_of(store: OrderStore | None) -> list[WorkerView]:
    """Return the workers that have announced themselves in Redis, by name.

    None where Redis does not answer.
    """
    if store is None:
        return []
    try:
        return sorted(store.workers(), key=attrgetter("name"))
    except TemporaryError:
        return []


def api_url(config: Config) -> str:
    """Return the URL of the API on this machine."""
    return base_url(config.services.host, config.services.port)


def workers_row(workers: Sequence[WorkerView]) -> Row:
    """Return which workers consume which queues, and which queues nobody consumes."""
    lines = []
    consumed: set[str] = set()
    for worker in workers:
        consumed.update(worker.queues)
        # `gpu.high` is the queue `gpu` at one priority.
        queues = ",".join(queue for queue in worker.queues if "." not in queue)
        lines.append(f"{worker.name} on {queues}")
    missing = [f"nobody consumes {queue}" for queue in sorted(set(COURIER_QUEUES) - consumed)]
    if not any(base_of(queue) not in COURIER_QUEUES for queue in consumed):
        missing.append("nobody classifies")
    text = "; ".join([*lines, *missing])
    if missing:
        return Row("workers", "absent", text)
    return Row("workers", "ok", text)


def models_row(store: OrderStore, workers: Sequence[WorkerView]) -> Row:
    """Return which algorithms the workers can run, and why not the others."""
    offered: set[str] = set()
    checking: set[str] = set()
    for worker in workers:
        offered.update(worker.offered or ())
        checking.update(worker.checking)
    cards = store.cards()
    versions = [f"{name} {cards[name].version}" for name in sorted(offered) if name in cards]
    parts = [f"the workers offer {', '.join(versions) or 'none'}"]
    parts += [f"{name} is being loaded for the first time" for name in sorted(checking - offered)]
    return _models(parts, reasons_of(workers))


def slides_row(workers: Sequence[WorkerView]) -> Row:
    """Return below which folders paths may lie, as the workers and couriers say it."""
    roots: set[str] = set()
    missing = []
    for worker in workers:
        roots.update(worker.settings.get("roots", ()))
        missing += [f"{root} on {worker.name}" for root in worker.settings.get("missing_roots", ())]
    if missing:
        return Row("slides", "failed", f"worker.slides.roots: there is no {', '.join(missing)}")
    if roots:
        return Row("slides", "ok", f"paths may lie below {', '.join(sorted(roots))}")
    return Row("slides", "absent", "worker.slides.roots is empty: orders may name no paths")


def watched_rows(store: OrderStore) -> Iterator[Row]:
    """Yield a row for each watched folder: what is in it, what waits, what was refused and why."""
    for view in store.arrivals.watched():
        look = view.look
        parts = [f"{look.path}: {look.slides} slides, {look.arriving} arriving"]
        if look.policy:
            parts[0] += f", policy {look.policy}"
        faults = []
        if look.fault:
            faults.append(look.fault)
        if not view.courier:
            faults.append("no courier looks at it now")
        if view.waiting:
            path, code = next(iter(view.waiting.items()))
            faults.append(f"{len(view.waiting)} wait, such as {path}: {code}")
        if view.refused:
            path, problem = next(iter(view.refused.items()))
            faults.append(
                f"{len(view.refused)} were refused, such as {path}: {problem.get('code')}: "
                f"{problem.get('detail')}"
            )
        state: Literal["ok", "failed"] = "ok"
        if faults:
            state = "failed"
        yield Row("watch", state, "; ".join([*parts, *faults]))


def settings_here(workers: Sequence[WorkerView]) -> dict[str, str]:
    """Return settings of the worker that runs on this machine, as environment variables.

    Empty where none runs here: then only the settings of the shell are known.
    """
    for worker in workers:
        if is_on_this_machine(worker.name, "gpu") and worker.settings:
            return _as_environment(worker.settings)
    return {}


def _as_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    env = {
        f"{PREFIX}WORKER__DEVICE": str(settings["device"]),
        f"{PREFIX}WORKER__LIMITS__DECODE_BYTES": str(settings["decode_bytes"]),
        f"{PREFIX}WORKER__LIMITS__DECODE_S": str(settings["decode_s"]),
    }
    if settings["threads"] is not None:
        env[f"{PREFIX}WORKER__THREADS"] = str(settings["threads"])
    return env


def answers(url: str) -> bool:
    """Return whether an API answers at this URL."""
    try:
        status, body = get(f"{url}/healthz")
    except NoAnswerError:
        return False
    return status == 200 and b'"ok"' in body


def rows_over_http(url: str) -> Iterator[Row]:
    """Yield what the API at this URL says of its Redis, its workers and its algorithms."""
    try:
        ready = _json(f"{url}/readyz")
        queues = _json(f"{url}/v1/queues")
    except (NoAnswerError, ValueError) as error:
        yield Row("ready", "failed", str(error))
        return
    if ready.get("status") == "ready":
        yield Row("ready", "ok", f"{url}/readyz: Redis answers and every stage has a worker")
    else:
        yield Row("ready", "failed", f"{url}/readyz: {ready.get('detail', ready)}")
    yield _listeners_row(queues)
    reasons = {one["algorithm"]: one["reason"] for one in ready.get("unavailable", ())}
    yield _models([f"{url}/readyz names those that cannot be run"], reasons)


def _listeners_row(answer: Mapping[str, Any]) -> Row:
    """Return how many workers listen to each queue, of an answer of `/v1/queues`."""
    if "queues" not in answer:
        return Row("workers", "absent", f"/v1/queues says: {answer.get('detail', answer)}")
    counts = [
        f"{queue['workers']} on {queue['name']}"
        for queue in answer["queues"]
        if "." not in queue["name"]
    ]
    if not counts:
        return Row("workers", "absent", "no queue was used yet")
    return Row("workers", "ok", ", ".join(counts))


def _json(url: str) -> dict[str, Any]:
    """Return the object that is answered, whatever the status. Raise `ValueError` for another."""
    _, body = get(url)
    answer = json.loads(body)
    if not isinstance(answer, dict):
        raise ValueError(f"{url} answers no JSON object")  # noqa: TRY004 - one error for wrong JSON
    return answer


def _models(parts: Sequence[str], reasons: Mapping[str, str]) -> Row:
    faults = [f"{name} is unavailable: {reason}" for name, reason in reasons.items()]
    text = "; ".join([*parts, *faults])
    if faults:
        return Row("models", "failed", text)
    return Row("models", "ok", text)
