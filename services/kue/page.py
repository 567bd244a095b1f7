"""The page of jobs, where Kue has its dashboard: plain HTML, without a script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import quote

from broker.order_store.kue import KUE_STATES, KueJob
from services.responses.views import order_path, rfc3339

PATH: Final = "/kue"
MOST_JOBS: Final = 100
_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "nav a{margin-right:1.5rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{border-bottom:1px solid #8886;padding:.4rem .8rem .4rem 0;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}"
)
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_DIGEST}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the browser lets the page load: its own style and nothing else."""


def page(state: str, counts: Mapping[str, int], jobs: Sequence[KueJob]) -> str:
    """Return the page of the jobs in one state."""
    links = " ".join(f'<a href="{PATH}/{one}">{one} <b>{counts[one]}</b></a>' for one in KUE_STATES)
    rows = "".join(map(_row, jobs))
    if not jobs:
        rows = f'<tr><td colspan="7">no job is {escape(state)}</td></tr>'
    left_out = counts[state] - len(jobs)
    more = ""
    if left_out > 0:
        more = f"<p>and {left_out} more: {PATH}/jobs/{escape(state)}/FROM..TO lists them</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Kue: {escape(state)}</title>"
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
        f"<body><h1>Jobs: {escape(state)}</h1><nav>{links}</nav><table><thead><tr>"
        "<th>job</th><th>type</th><th>priority</th><th>progress</th><th>created</th>"
        "<th>order</th><th>error</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}</body></html>"
    )


def _row(job: KueJob) -> str:
    number = job.number
    order = ""
    if job.order_id:
        path = order_path(quote(job.order_id))
        order = f'<a href="{path}">{escape(job.order_id)}</a>'
    error = (job.error or "").partition("\n")[0]
    cells = (
        f'<a href="{PATH}/job/{number}">{number}</a> <a href="{PATH}/job/{number}/log">log</a>',
        escape(job.type),
        escape(job.fields["priority"]),
        f"{job.percent} %",
        escape(rfc3339(int(job.fields["created_at"]) / 1000)),
        order,
        escape(error),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
