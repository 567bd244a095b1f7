"""Routes that describe the API: the OpenAPI document, and a page that shows it with Swagger UI.

Swagger UI comes from the package fastapi-offline, so that no other host is asked for anything.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from broker.errors import OrderError

PAGE: Final = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Slidelane: the API</title>
    <link rel="stylesheet" href="docs/swagger-ui.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <noscript>This page needs JavaScript. openapi.json holds the same as text.</noscript>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
"""
START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // Otherwise a badge is loaded from the validator at swagger.io.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
"""The files of Swagger UI that the page uses, with their media types."""
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # The icons in the style sheet of Swagger UI.
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the browser lets the page load, run and ask: only this API."""

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def describe(request: Request) -> JSONResponse:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def show_page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


@router.get("/docs/start.js")
async def start_page() -> Response:
    """Return the script that starts Swagger UI. One in the page itself would not be run."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
def get_asset(name: str) -> FileResponse:
    """Return a file of Swagger UI."""
    if name not in ASSETS:
        raise OrderError("not_found", f"the page has no file {name[:64]!r}", hint="see /docs")
    folder = Path(str(files("fastapi_offline") / "static"))
    return FileResponse(folder / name, media_type=ASSETS[name])
