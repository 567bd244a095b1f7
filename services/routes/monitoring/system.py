"""Route that shows the whole service at once: this machine, Redis, workers, queues, algorithms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, ValidationError

from broker.diagnostics import Row
from broker.machine import Machine, machine_with
from broker.order_store import OrderStore, ServerView, WorkerView
from broker.service_checks import look_at_redis, redis_row
from services.dependencies import Settings, Store, Viewer, may_read
from services.responses.product import version
from services.responses.views import ABSENT
from services.routes.monitoring.checks import (
    disk_rows,
    service_rows,
    uploads_row,
    viewer_row,
)
from services.routes.monitoring.queues import WaitingQueueView, all_queues

router = APIRouter(prefix="/v1/system", tags=["system"], dependencies=[Depends(may_read)])


class CpuView(BaseModel):
    """The cores of a machine."""

    cores: int
    load_1m: float | None = Field(description="processes that want a core, over the last minute")


class SpaceView(BaseModel):
    """Memory or a disk."""

    bytes: int | None
    free_bytes: int | None


class DiskView(SpaceView):
    """The disk of one folder."""

    folder: str = Field(description="`data` or `storage`: a setting of `broker`")


class GpuView(BaseModel):
    """One GPU, and the workers that may use it."""

    name: str
    memory_bytes: int | None
    memory_free_bytes: int | None
    workers: list[str]


class RedisView(BaseModel):
    """The Redis server."""

    name: str | None = Field(description="null where its access list hides it")
    durable: bool | None = Field(description="whether it writes an append-only file")
    evicts: bool | None = Field(description="whether it throws keys away when its memory is full")


class WorkerGpu(BaseModel):
    """One GPU as a worker told of it."""

    id: str
    name: str
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None


class WorkerMachine(BaseModel):
    """The machine as a worker told of it."""

    cores: int
    load_1m: float | None = None
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    disk_bytes: int | None = Field(None, description="of the worker's `broker.data`")
    disk_free_bytes: int | None = None
    gpus: list[WorkerGpu] = Field(default_factory=list)


class LivingWorkerView(BaseModel):
    """One worker whose heartbeats come."""

    name: str
    queues: list[str]
    seen_s_ago: float
    offered: list[str] | None = Field(description="algorithms it can run; null for a courier")
    checking: list[str] = Field(description="algorithms that it loads for the first time")
    unavailable: dict[str, str] = Field(description="why it cannot run each of the others")
    machine: Annotated[WorkerMachine | None, ABSENT] = None


class OrderableView(BaseModel):
    """One algorithm in a few words; `GET /v1/algorithms` says all."""

    name: str
    title: str
    version: str | None
    queue: str | None
    available: bool
    reason: Annotated[str | None, ABSENT] = None
    workers: list[str] = Field(description="those that can run it now")


class CheckView(BaseModel):
    """One row of what `slidelane doctor` prints."""

    what: str
    state: Literal["ok", "failed", "absent"] = Field(
        description="`absent`: not there, and need not be; `failed`: has to be corrected"
    )
    message: str


class SystemView(BaseModel):
    """The service as it is now. `cpu`, `memory` and `disk` are those of the API's machine."""

    version: str
    cpu: CpuView
    memory: SpaceView
    disk: list[DiskView]
    gpus: list[GpuView]
    redis: RedisView
    workers: list[LivingWorkerView]
    queues: list[WaitingQueueView]
    algorithms: list[OrderableView]
    checks: list[CheckView]
    links: dict[str, str]


async def _viewer_row(viewer: Viewer) -> Row:
    return await viewer_row(viewer)


ViewerRow = Annotated[Row, Depends(_viewer_row)]


@router.get("")
def get_system(config: Settings, store: Store, viewer: ViewerRow) -> SystemView:
    """The service at a glance: machines, GPUs, Redis, workers, queues, algorithms, checks."""
    workers = store.workers()
    queues = all_queues(store)
    shown = [_worker(worker) for worker in workers]
    machines = _machines(config)
    machine = machines["data"]
    redis = look_at_redis(store)
    checks = [
        redis_row(redis),
        *service_rows(store, workers, queues),
        *disk_rows(machines),
        uploads_row(config),
        viewer,
    ]
    return SystemView(
        version=version(),
        cpu=CpuView(cores=machine.cores, load_1m=machine.load_1m),
        memory=SpaceView(bytes=machine.memory_bytes, free_bytes=machine.memory_free_bytes),
        disk=_disks(machines),
        gpus=_gpus(shown),
        redis=_redis(redis.server),
        workers=shown,
        queues=[WaitingQueueView.of(queue) for queue in queues],
        algorithms=_algorithms(store, workers),
        checks=[CheckView(**asdict(row)) for row in checks],
        links=_links(config),
    )


def _machines(config: Settings) -> dict[str, Machine]:
    """Return this machine with the disk of each folder, by the setting that names the folder."""
    names = ("data", "storage")
    return {
        name: machine_with(folder)
        for name, folder in zip(names, config.broker.folders, strict=False)
    }


def _disks(machines: Mapping[str, Machine]) -> list[DiskView]:
    return [
        DiskView(folder=name, bytes=machine.disk_bytes, free_bytes=machine.disk_free_bytes)
        for name, machine in machines.items()
    ]


def _worker(worker: WorkerView) -> LivingWorkerView:
    offered = None
    if worker.offered is not None:
        offered = list(worker.offered)
    return LivingWorkerView(
        name=worker.name,
        queues=list(worker.queues),
        seen_s_ago=round(worker.seen_s_ago, 1),
        offered=offered,
        checking=list(worker.checking),
        unavailable=dict(worker.unavailable),
        machine=_machine(worker.machine),
    )


def _machine(told: Any) -> WorkerMachine | None:
    """Return the machine of a heartbeat, None where it tells of none that this version knows."""
    try:
        return WorkerMachine.model_validate(told)
    except ValidationError:
        return None


def _gpus(workers: Sequence[LivingWorkerView]) -> list[GpuView]:
    """Return each GPU once, also where several workers of its machine may use it."""
    found: dict[str, GpuView] = {}
    for worker in workers:
        if worker.machine is None:
            continue
        for gpu in worker.machine.gpus:
            known = found.setdefault(gpu.id, GpuView(**gpu.model_dump(exclude={"id"}), workers=[]))
            known.workers.append(worker.name)
    return list(found.values())


def _redis(server: ServerView | None) -> RedisView:
    if server is None:
        return RedisView(name=None, durable=None, evicts=None)
    return RedisView(name=server.name, durable=server.is_durable, evicts=server.evicts)


def _algorithms(store: OrderStore, workers: Sequence[WorkerView]) -> list[OrderableView]:
    shown = []
    for known in store.algorithms():
        view = OrderableView(
            name=known.name,
            title=known.name,
            version=None,
            queue=None,
            available=known.card is not None and not known.reason,
            reason=known.reason or None,
            workers=[one.name for one in workers if known.name in (one.offered or ())],
        )
        if known.card is not None:
            view.title = known.card.title
            view.version = known.card.version
            view.queue = known.card.queue
        shown.append(view)
    return shown


def _links(config: Settings) -> dict[str, str]:
    links = {"docs": "/docs", "openapi": "/openapi.json", "metrics": "/metrics"}
    if config.services.page.flower is not None:
        links["flower"] = config.services.page.flower
    return links
