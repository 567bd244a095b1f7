"""The routes for tasks of Techcyte: its "External" provider posts them, or a person pastes one.

The secret in the provider's address stands for an API key.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from broker.errors import OrderError
from broker.order_store.errors import KeyReusedError
from broker.settings.services.techcyte import TechcyteWebhook
from services import secret_paths
from services.auth import Caller
from services.dependencies import JsonBody, OrderingCaller, Settings, Store
from services.requests import json_body, techcyte_task
from services.requests.order_validation import order_of
from services.requests.placement import Orderable, Placed, Placement
from services.requests.techcyte_task import TechcyteTask
from services.responses.accepted import accepted
from services.responses.views import OrderView, order_path

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
WebhookName = Annotated[
    str | None,
    Query(max_length=64, description="a name in `services.techcyte.webhooks`; absent: the only"),
]
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


@router.post(
    "/v1/techcyte/tasks",
    status_code=202,
    response_model=OrderView,
    openapi_extra=techcyte_task.BODY,
)
def place_techcyte_task(
    config: Settings,
    store: Store,
    caller: OrderingCaller,
    raw: JsonBody,
    webhook: WebhookName = None,
) -> Response:
    """A task that a person has, as Techcyte's debug request shows it, becomes its order.

    Nothing but the caller differs from a task that Techcyte posts: it is the same order.
    """
    named = _webhook_named(webhook, config.services.techcyte.webhooks)
    task = TechcyteTask.of(json_body.parse(raw))
    placed = _placed(task, named, Placement(config, store, caller))
    return accepted(store, placed.order_id, is_replay=placed.is_replay)


def _webhook_named(name: str | None, webhooks: Sequence[TechcyteWebhook]) -> TechcyteWebhook:
    """Return the webhook of the name, or the only one. Raise `OrderError("request_invalid")`."""
    matching = [one for one in webhooks if name in (None, one.name)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(sorted({one.name for one in webhooks}))
    if not webhooks:
        detail = "webhook: services.techcyte.webhooks is empty"
        hint = "it says which algorithm a task's model is, and where its results go"
    elif not matching:
        detail = "webhook: no webhook has this name"
        hint = f"there are: {names}"
    else:
        detail = "webhook: there are several"
        hint = f"name one that is alone with its name: {names}"
    raise OrderError("request_invalid", detail, hint=hint, field="webhook")


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
