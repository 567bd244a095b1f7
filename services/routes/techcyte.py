"""The route that Techcyte's "External" provider posts its tasks to.

The secret in its address stands for an API key.
"""

import hashlib
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from broker.errors import OrderError
from broker.order_store.errors import KeyReusedError
from broker.settings.techcyte import TechcyteWebhook
from services import secret_paths
from services.auth import Caller
from services.dependencies import Settings, Store
from services.requests import json_body, techcyte_task
from services.requests.order_validation import order_of
from services.requests.placement import Orderable, Placed, Placement
from services.requests.techcyte_task import TechcyteTask
from services.responses.views import order_path

STARTED = "Processing started"
"""What the example server in Techcyte's documents answers, with the status 200."""
REPEATED = "This task was taken before; it is processed once"
router = APIRouter(tags=["orders"])


class TaskAnswer(BaseModel):
    """What a task is answered with."""

    message: str
    order_id: str = Field(description="the order that the task became")


async def webhook_of(secret: str, config: Settings) -> TechcyteWebhook:
    """Return the webhook of the secret in the address. Raise `OrderError("not_found")`."""
    given = _digest(secret)
    # Every secret is compared, so that the time taken does not depend on which one matches.
    matching = [
        webhook
        for webhook in config.services.techcyte.webhooks
        if hmac.compare_digest(_digest(webhook.secret.get_secret_value()), given)
    ]
    if not matching:
        # The words for an address that is not there: a wrong secret learns nothing.
        raise OrderError("not_found", "there is no such address", hint="see /openapi.json")
    return matching[0]


async def body_of(request: Request, config: Settings) -> bytes:
    """Return the body as it was sent, whatever its media type. Raise `OrderError`."""
    return await json_body.read_undeclared(request, config.services.max_body_bytes)


Webhook = Annotated[TechcyteWebhook, Depends(webhook_of)]
Body = Annotated[bytes, Depends(body_of)]


@router.post(
    secret_paths.TECHCYTE_WEBHOOK + "{secret}",
    response_model=TaskAnswer,
    openapi_extra=techcyte_task.BODY,
)
def take_techcyte_task(webhook: Webhook, raw: Body, config: Settings, store: Store) -> JSONResponse:
    """A task of Techcyte becomes one order, with all its scans.

    The same task again is the same order. The results are posted to the task, once.
    """
    task = TechcyteTask.of(json_body.parse(raw))
    placement = Placement(config, store, Caller(webhook.name))
    placed = _placed(task, webhook, placement)
    answer = TaskAnswer(message=STARTED, order_id=placed.order_id)
    headers = {"location": order_path(placed.order_id)}
    if placed.is_replay:
        answer.message = REPEATED
        headers["idempotency-replayed"] = "true"
    return JSONResponse(answer.model_dump(), headers=headers)


def _placed(task: TechcyteTask, webhook: TechcyteWebhook, placement: Placement) -> Placed:
    """Return the order of the task. Raise `OrderError` for a task that another order has."""
    key = task.key(webhook)
    content = task.content()
    try:
        known = placement.known(key, content)
        if known:
            return known
        request = order_of(task.order_document(webhook))
        orderable = Orderable.of(placement.store)
        keep_s = int(placement.config.broker.keep_s)
        return placement.place(request, orderable, key, content, key_life_s=keep_s)
    except KeyReusedError as fault:
        raise OrderError(
            "task_reused",
            f"task_id: this task is the order {fault.order_id}, with other files or another model",
            hint="make a new task: results end a task, so a task becomes one order",
            field="task_id",
        ) from None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
