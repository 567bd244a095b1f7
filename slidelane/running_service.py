"""Finds the service that runs on the settings of this shell, and says what it reports of itself.

Its own settings may differ from those of the shell: it was started elsewhere, or before they were
changed. So `slidelane doctor` shows what the service says, not what the shell would start.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from broker.diagnostics import Row
from broker.errors import TemporaryError
from broker.order_store import OrderStore, WorkerView
from broker.queue.names import is_on_this_machine
from broker.service_checks import algorithms_row
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
    yield algorithms_row([f"{url}/readyz names those that cannot be run"], reasons)


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
