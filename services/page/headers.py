"""What a browser may let the page load, run and ask: this service alone (CSP and its companions).

A page that shows text of slides, logs and problems must run nothing that stands in such a text.
"""

from collections.abc import Mapping, Sequence
from typing import Final

VIEWER_STYLE: Final = "sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE="
"""The one style element that OpenSeadragon makes; a test computes it from the vendored file."""
_FIXED: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def page_headers(frame_ancestors: Sequence[str]) -> Mapping[str, str]:
    """Return the headers of every answer of the page.

    `frame_ancestors`: the origins that may embed it.
    """
    return {**_FIXED, "content-security-policy": _policy(frame_ancestors)}


def _policy(frame_ancestors: Sequence[str]) -> str:
    embedding = " ".join(frame_ancestors) or "'none'"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' '{VIEWER_STYLE}'",
            # Tiles that were drawn in the browser are blobs, icons in style sheets are data.
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "font-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            f"frame-ancestors {embedding}",
            "require-trusted-types-for 'script'",
            "trusted-types default",
        )
    )
