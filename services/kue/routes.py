"""The addresses of Kue, below `/kue`. Statuses, types and words are those of the real Kue.

`docs/connect-camicroscope-2.md` says where we differ.
"""

import asyncio
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from broker.errors import OrderError, TemporaryError
from broker.log import one_line
from broker.order_store.errors import KueJobNotFoundError, StateConflictError
from broker.order_store.kue import KUE_STATES, document
from services.dependencies import Settings, Store
from services.kue import examples
from services.kue.access import Reader, Writer
from services.kue.answers import KueRefusedError, KueRoute, error_of, json_answer, status_of
from services.kue.door import Door
from services.kue.listing import Listing, counted
from services.kue.pace import PACE_S, PollPace
from services.kue.page import MOST_JOBS, PATH, POLICY, page
from services.kue.sent_job import priority_of
from services.requests import json_body
from services.responses.problems import headers_of
from services.responses.views import order_path, rfc3339

MAX_BODY_BYTES: Final = 102_400
"""The most that Kue reads."""
UNKNOWN: Final = "unknown"
"""The state while Redis does not answer; it holds neither of the words that a viewer waits for."""
_ENDED: Final = ("complete", "failed")
_LEADING_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]{1,9}")
router = APIRouter(prefix=PATH, tags=["kue"], route_class=KueRoute)
pages = APIRouter(include_in_schema=False, route_class=KueRoute)


async def door_of(config: Reader, store: Store) -> Door:
    """Return what does the work, for a caller that may read."""
    return Door(config, store)


async def changing_door_of(config: Writer, store: Store) -> Door:
    """Return what does the work, for a caller that may change something."""
    return Door(config, store)


async def pace_of(request: Request) -> PollPace:
    """Return what slows down clients of this process that ask without a pause."""
    state = request.app.state
    if not hasattr(state, "kue_pace"):
        state.kue_pace = PollPace()
    pace: PollPace = state.kue_pace
    return pace


async def body_of(request: Request, _config: Writer, config: Settings) -> bytes:
    """Return the body that is declared as JSON, else nothing, as Kue does. Raise `OrderError`."""
    most = min(MAX_BODY_BYTES, config.services.max_body_bytes)
    raw = await json_body.read_undeclared(request, most)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return b""
    return raw


ReadingDoor = Annotated[Door, Depends(door_of)]
ChangingDoor = Annotated[Door, Depends(changing_door_of)]
Body = Annotated[bytes, Depends(body_of)]
Pace = Annotated[PollPace, Depends(pace_of)]


@router.post("/job", openapi_extra=examples.BODY)
def create_kue_job(
    door: ChangingDoor,
    raw: Body,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """A job, or an array of jobs, becomes an order each.

    A job that cannot be an order gets an id too, and is failed: old viewers read nothing else.
    """
    sent: Any = {}
    if raw:
        sent = json_body.parse(raw)
    if not isinstance(sent, dict | list):
        raise KueRefusedError("the body is a job or an array of jobs")
    if not sent:
        return Response(status_code=204)
    if isinstance(sent, dict):
        created = door.create(sent, idempotency_key)
        return json_answer(created.answer, created.status)
    outcomes = door.create_all(sent, idempotency_key)
    failures = [outcome.status for outcome in outcomes if outcome.status != 200]
    status = next(iter(failures), 200)
    return json_answer([outcome.answer for outcome in outcomes], status)


@router.get("/job/types")
def list_kue_types(door: ReadingDoor) -> Response:
    """The types of jobs that were sent so far."""
    return json_answer(door.store.kue.types())


@router.get("/job/{job_id}")
async def get_kue_job(job_id: str, door: ReadingDoor, pace: Pace) -> Response:
    """One job. A caller that asks again at once for an unfinished job is answered 0.3 s later."""
    try:
        job = await run_in_threadpool(door.job, job_id)
        if job.state not in _ENDED:
            wait_s = pace.wait_s(job_id)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                job = await run_in_threadpool(door.job, job_id)
    except KueJobNotFoundError as fault:
        return json_answer(error_of(fault))
    except TemporaryError as fault:
        # An old viewer gives up at an answer without a state, and asks again at once at any other.
        await asyncio.sleep(PACE_S)
        return json_answer(
            error_of(fault) | {"state": UNKNOWN}, status_of(fault), headers_of(fault)
        )
    headers = {}
    if job.order_id:
        headers["link"] = f'<{order_path(job.order_id)}>; rel="alternate"'
    return json_answer(document(job, job_id), headers=headers)


@router.get("/job/{job_id}/log")
def get_kue_log(job_id: str, door: ReadingDoor) -> Response:
    """What happened to the order of a job, a text for each thing."""
    lines = [f"{rfc3339(line['at'])} {one_line(line['text'])}" for line in door.log(job_id)]
    return json_answer(lines)


@router.delete("/job/{job_id}")
def remove_kue_job(job_id: str, door: ChangingDoor) -> Response:
    """Remove a job; its order is cancelled, and deleted with what is kept of it."""
    try:
        door.remove(job_id)
    except KueJobNotFoundError as fault:
        return json_answer(error_of(fault))
    return json_answer({"message": f"job {job_id} removed"})


@router.put("/job/{job_id}/priority/{priority}")
def set_kue_priority(job_id: str, priority: str, door: ChangingDoor) -> Response:
    """Change the priority of a job, and of its order while that waits."""
    found = _LEADING_NUMBER.match(priority)
    number = None
    if found:
        number = priority_of(found[0])
    if number is None:
        return json_answer({"error": "invalid priority"})
    try:
        door.set_priority(job_id, number)
    except KueJobNotFoundError as fault:
        return json_answer(error_of(fault))
    return json_answer({"message": "updated priority"})


@router.put("/job/{job_id}/state/{state}")
def set_kue_state(job_id: str, state: str, door: ChangingDoor) -> Response:
    """`inactive` starts a failed job again, `failed` ends one; other states the work decides."""
    return _changed_state(door, job_id, state, "updated state")


@router.get("/inactive/{job_id}")
def restart_kue_job(job_id: str, door: ChangingDoor) -> Response:
    """Start a failed job again."""
    return _changed_state(door, job_id, "inactive", f"job {job_id} inactive")


@router.get("/jobs/{listing:path}")
def list_kue_jobs(listing: str, door: ReadingDoor) -> Response:
    """`FROM..TO`, before it a state, or a type and a state, behind it `asc` or `desc`.

    Both ends count; one answer has at most 1000 jobs. `TYPE/STATE/stats` counts jobs.
    """
    kind_and_state = counted(listing)
    if kind_and_state:
        kind, state = kind_and_state
        return json_answer({"count": door.store.kue.count_in(state, kind)})
    try:
        asked = Listing.of(listing)
    except KueRefusedError as fault:
        return json_answer(error_of(fault))
    jobs = door.store.kue.listed(asked.first, asked.last, asked.state, asked.type)
    documents = [document(job, job.number) for job in jobs]
    if asked.newest_first:
        documents.reverse()
    return json_answer(documents)


@router.get("/stats")
def get_kue_stats(door: ReadingDoor) -> Response:
    """How many jobs are in each state, and how many ms all complete ones took."""
    counts = door.store.kue.counted()
    stats = {
        f"{state}Count": counts[state]
        for state in ("inactive", "complete", "active", "failed", "delayed")
    }
    return json_answer(stats | {"workTime": door.store.kue.work_time_ms()})


@pages.get(PATH)
@pages.get(f"{PATH}/")
def show_kue_page(door: ReadingDoor) -> Response:
    """The page of the active jobs, as Kue begins with it."""
    return _page(door, "active")


@pages.get(f"{PATH}/{{state}}")
def show_kue_state(state: str, door: ReadingDoor) -> Response:
    """The page of the jobs in one state."""
    if state not in KUE_STATES:
        raise OrderError("not_found", "there is no such address", hint=f"see {PATH}")
    return _page(door, state)


def _page(door: Door, state: str) -> Response:
    counts = door.store.kue.counted()
    jobs = door.store.kue.listed(max(0, counts[state] - MOST_JOBS), counts[state], state)
    jobs.reverse()
    return HTMLResponse(page(state, counts, jobs), headers={"content-security-policy": POLICY})


def _changed_state(door: Door, job_id: str, state: str, message: str) -> Response:
    """Answer as Kue does: 200 with what was wrong, also where a state cannot be reached."""
    try:
        door.set_state(job_id, state)
    except (KueJobNotFoundError, KueRefusedError, StateConflictError) as fault:
        return json_answer(error_of(fault))
    return json_answer({"message": message})
