"""A secret that somebody repeats is not shown, in whatever form."""

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from broker.secret_forms import masked, secrets_of_url

SECRETS = [
    "pa55word",
    'p/w;1 "quoted" & <more>',
    "ключ-доступа+1",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJsYWIifQ.c2lnbmF0dXJlLW9mLXRoaXM",
    "0123456789abcdef" * 8,
]
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: quote(secret, safe="").lower(),
    "percent-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "form-encoded": quote_plus,
    "JSON": json.dumps,
    "JSON within JSON": lambda secret: json.dumps(json.dumps(secret)),
    "JSON with escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "HTML": html.escape,
    "hex": lambda secret: secret.encode().hex(),
    "hex in upper case": lambda secret: secret.encode().hex().upper(),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64, percent-encoded": lambda secret: quote(base64.b64encode(secret.encode()), safe=""),
    "base64 in lower case": lambda secret: base64.b64encode(secret.encode()).decode().lower(),
}
FORMS |= {
    f"base64 behind {before!r}": lambda secret, before=before: base64.b64encode(  # type: ignore[misc]
        f"{before}{secret}".encode()
    ).decode()
    for before in ("u:", "us:", "user:", "Bearer ", '{"token":"')
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_of_a_secret_is_masked(secret: str, form: Callable[[str], str]) -> None:
    """What is around it stays."""
    repeated = form(secret)
    shown = masked(f"refused: ({repeated}) is unknown", ["", secret])
    assert shown.startswith("refused: (")
    assert shown.endswith(") is unknown")
    assert repeated not in shown
    longest = max(repeated.strip('"').split(), key=len)
    assert longest[:8] not in shown
    assert longest[-8:] not in shown


@pytest.mark.parametrize("part", [slice(None, 40), slice(-40, None)], ids=["begins", "ends"])
def test_a_long_secret_that_is_cut_is_masked(part: slice) -> None:
    """A program that shortens what it repeats still tells most of it."""
    shown = masked(f"unknown token {SECRETS[3][part]} (shortened)", [SECRETS[3]])
    assert shown == "unknown token … (shortened)"


def test_ordinary_words_stay() -> None:
    """Secrets that are short or alike take nothing else away."""
    text = "the task was not found: dGFzazox is closed, 4 of 12 done, see https://a.example/x"
    assert masked(text, ["tok", "pa55word", SECRETS[3]]) == text


def test_what_is_secret_in_a_url_is_known() -> None:
    """Its login in both forms, its query, and each value of that."""
    url = "https://user:p%2Fw@h.example/up?sig=abc%2Bd&x=1"
    assert set(secrets_of_url(url)) == {
        "user:p%2Fw", "user:p/w", "p%2Fw", "p/w", "sig=abc%2Bd&x=1", "sig=abc+d&x=1", "abc+d",
    }  # fmt: skip
    assert secrets_of_url("https://t0ken@h.example/") == ("t0ken",)
    assert secrets_of_url("https://h.example/") == ()


@pytest.mark.parametrize("text", ["a" * 64_000, "%" * 64_000, "\\" * 64_000, "=…" * 32_000])
def test_a_hostile_text_takes_no_long_time(text: str) -> None:
    """An answer may hold 64 kB of anything."""
    began = time.monotonic()
    masked(text, [*SECRETS, "a" * 20, "\\" * 30, "%" * 8])
    assert time.monotonic() - began < 5
