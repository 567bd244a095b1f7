"""Routes to log in with a browser, to see who is logged in, and to log out."""

from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from broker.errors import OrderError
from broker.order_store import OrderStore, Session
from broker.settings.config import Scope
from services import openapi
from services.auth import ANYBODY, ApiKeyAuth
from services.dependencies import CallerOrStranger, Keys, Settings, Store, may_log_in
from services.requests import json_body
from services.responses.product import version
from services.session import cookie
from services.session.tries import LoginTries

MAX_BODY_BYTES: Final = 4096
LONGEST_KEY: Final = 1024

router = APIRouter(prefix="/v1/session", tags=["session"])


class SessionView(BaseModel):
    """Who asks, and what the page may offer."""

    name: str | None = Field(
        description="name of the API key; empty where none is configured, null before a login"
    )
    scopes: list[Scope] = Field(description="empty before a login")
    version: str | None = Field(description="of Slidelane; null before a login")
    flower: str | None = Field(
        description="address of Flower, where the settings state it; null before a login"
    )
    needs_key: bool = Field(description="false where no key is configured: nobody logs in")


@router.post("", status_code=204, openapi_extra=openapi.SESSION_BODY)
async def log_in(
    request: Request, store: Store, keys: Keys, _: Annotated[None, Depends(may_log_in)]
) -> Response:
    """Exchange an API key for a cookie. It ends after 8 hours, or an hour without use.

    Where no key is configured nobody needs a session, and no cookie is given.
    """
    response = Response(status_code=204)
    if not keys.are_configured:
        return response
    name = cookie.name_for(request)
    if name is None:
        raise OrderError(
            "login_needs_https",
            "this request came over plain http from another machine",
            hint="open the page by https://; a proxy in front says X-Forwarded-Proto: https",
        )
    tries = cast(LoginTries, request.app.state.login_tries)
    tries.begin(request)
    text = _key_in(await json_body.read(request, MAX_BODY_BYTES))
    auth = cast(ApiKeyAuth, request.app.state.auth)
    key = auth.known_key(text.encode())
    tries.forgive(request)
    token = cookie.new_token()
    await run_in_threadpool(_replace, store, cookie.token_of(request), token, key.name, key.sha256)
    cookie.give(response, name, token)
    return response


@router.get("")
async def get_session(caller: CallerOrStranger, config: Settings, keys: Keys) -> SessionView:
    """Who asks: the key that came along, or that of the session.

    With neither, where keys are configured, the answer says that a login is needed and no more. A
    wrong key and a session that has ended are answered with 401.
    """
    if caller is None:
        return SessionView(name=None, scopes=[], version=None, flower=None, needs_key=True)
    name = caller.name
    if name == ANYBODY and not keys.are_configured:
        name = ""
    return SessionView(
        name=name,
        scopes=list(caller.scopes),
        version=version(),
        flower=config.services.page.flower,
        needs_key=keys.are_configured,
    )


@router.delete("", status_code=204)
async def log_out(
    request: Request, store: Store, _: Annotated[None, Depends(may_log_in)]
) -> Response:
    """End the session, if there is one, in this browser and here."""
    response = Response(status_code=204)
    name = cookie.name_for(request)
    token = cookie.token_of(request)
    if token:
        await run_in_threadpool(store.end_session, cookie.digest_of(token))
    if name is not None:
        cookie.take_back(response, name)
    return response


def _replace(store: OrderStore, old_token: str, token: str, name: str, sha256: str) -> None:
    """Begin a session, and end the one that this browser had."""
    if old_token:
        store.end_session(cookie.digest_of(old_token))
    store.begin_session(cookie.digest_of(token), Session(name, sha256))


def _key_in(body: bytes) -> str:
    """Return the key that was sent. Raise `OrderError`, which does not repeat what was sent."""
    document = json_body.parse(body)
    if isinstance(document, dict) and document.keys() == {"key"}:
        key = document["key"]
        if isinstance(key, str) and 0 < len(key.strip()) <= LONGEST_KEY:
            return key.strip()
    raise OrderError(
        "request_invalid",
        f"a login is one text, 1 to {LONGEST_KEY} characters long",
        hint='send {"key": "…"}',
        field="key",
    )
