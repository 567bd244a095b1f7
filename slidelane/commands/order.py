"""`slidelane order`: orders slides from the running service, and follows them if asked to."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from broker.orders.order import ENDED, OrderState
from broker.settings.config import load
from slidelane.commands.order_api import Answer, NoAnswerError, OrderApi
from slidelane.commands.order_list import Defaults, Given, TableError, Task, orders_of
from slidelane.commands.pending_keys import PendingKeys
from slidelane.commands.progress_display import ProgressDisplay, printable
from slidelane.commands.region import HELP, region
from slidelane.commands.run import INTERRUPTED_STATUS, USAGE_STATUS, default_algorithm
from slidelane.commands.upload.client import UploadClient, UploadRefusedError
from slidelane.commands.upload.pending import PendingUploads
from slidelane.commands.upload.slide_files import SlideUnreadableError
from slidelane.commands.values import add_value_option
from slidelane.commands.worker_process import CommandError, stop_on_signals
from slidelane.http_probe import base_url

_POLL_S: Final = 0.5
_MOST_TASK_BYTES: Final = 10**6
_PATIENCE_S: Final = 600.0
"""How long the service may be silent while orders are followed; it may be started anew."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("order", help="order slides from the running service")
    parser.add_argument(
        "what",
        nargs="*",
        metavar="PATH_OR_URL",
        help="slides, folders of slides, or CSV tables with the columns path or url, algorithm, "
        "roi, mpp, stain, to, to.FIELD, label.NAME",
    )
    parser.add_argument("--algorithm", metavar="A", help="a name of GET /v1/algorithms")
    parser.add_argument(
        "--template",
        metavar="NAME",
        help="a name of GET /v1/templates, which gives algorithm, parameters and destination",
    )
    parser.add_argument("--roi", type=region, help=HELP)
    parser.add_argument(
        "--mpp", type=float, help="microns per pixel, used where the slide does not say"
    )
    parser.add_argument("--stain", help="the stain, compared with that of the algorithm")
    parser.add_argument(
        "--to",
        metavar="NAME",
        help="where the results go: one of services.destinations; without it they are kept",
    )
    parser.add_argument(
        "--techcyte",
        metavar="FILE",
        help="the JSON of a task of Techcyte, as its debug request shows it in the task's notes; "
        "- reads it from stdin. Algorithm and host are those of services.techcyte.webhooks",
    )
    parser.add_argument(
        "--webhook",
        metavar="NAME",
        help="which of services.techcyte.webhooks a task is for, where there are several",
    )
    parser.add_argument(
        "--upload",
        action="store_true",
        help="send every slide to the service, also where it may read the path; without it only "
        "slides that lie outside of worker.slides.roots are sent",
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the orders to their end; status 0 only if all were delivered",
    )
    add_value_option(parser)
    parser.set_defaults(run=_run)


@dataclass
class Followed:
    """One order that was accepted, as it was last seen."""

    title: str
    order: dict[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.order.get("state") in ENDED

    @property
    def percent(self) -> float:
        """How much of the work is done."""
        if self.has_ended:
            return 100.0
        return float(self.order.get("progress", {}).get("percent", 0.0))


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 where every order was accepted, or with --wait delivered; else 1; 2 for bad usage.

    Raise `ConfigError` for settings that cannot work.
    """
    config = load()
    stop_on_signals()
    url = base_url(config.services.host, config.services.port)
    defaults = Defaults(
        algorithm=arguments.algorithm or default_algorithm(config),
        parameters=arguments.parameters,
        roi=arguments.roi,
        mpp=arguments.mpp,
        stain=arguments.stain,
        to=arguments.to,
        template=arguments.template,
    )
    if arguments.template and arguments.algorithm:
        print("slidelane order: give --algorithm or --template", file=sys.stderr)
        return USAGE_STATUS
    try:
        given = list(orders_of(arguments.what, defaults))
        if arguments.techcyte:
            given.append(_task_in(arguments.techcyte, arguments.webhook))
        if not given:
            raise TableError("there is nothing to order: name a slide, or --techcyte FILE")
    except TableError as error:
        print(f"slidelane order: {printable(error)}", file=sys.stderr)
        return USAGE_STATUS
    try:
        api = OrderApi(url, PendingKeys.of_user())
        if arguments.upload:
            api.check()
            given = [_uploaded(api, one) for one in given]
        return _place_and_follow(api, given, wait=arguments.wait)
    except CommandError as error:
        print(f"slidelane order: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "slidelane order: stopped; orders that were accepted go on without this command",
            file=sys.stderr,
        )
        return INTERRUPTED_STATUS


def _task_in(name: str, webhook: str | None) -> Given:
    """Return the task that a file holds. Raise `TableError` for one that cannot be read."""
    try:
        if name == "-":
            task = sys.stdin.buffer.read(_MOST_TASK_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                task = file.read(_MOST_TASK_BYTES + 1)
    except OSError as error:
        raise TableError(f"--techcyte: {name} cannot be read ({error.strerror})") from None
    if len(task) > _MOST_TASK_BYTES:
        raise TableError(f"--techcyte: {name} has more than {_MOST_TASK_BYTES} bytes: no task has")
    return Given(name, task=Task(task, webhook))


def _place_and_follow(api: OrderApi, given: Sequence[Given], *, wait: bool) -> int:
    api.check()
    placed = [order for order in (_place(api, one) for one in given) if order]
    if wait and placed:
        _follow(api, placed)
        for order in placed:
            _print_result(api.url, order)
    is_good = len(placed) == len(given)
    if wait:
        is_good = is_good and all(_is_delivered(order) for order in placed)
    if is_good:
        return 0
    return 1


def _place(api: OrderApi, given: Given) -> Followed | None:
    """Place one order and print where it is shown; print why it is none and return None."""
    title = printable(given.title)
    if given.fault:
        print(f"{title}: {printable(given.fault)}", file=sys.stderr)
        return None
    try:
        if given.task:
            answer = api.place_techcyte_task(given.task.content, given.task.webhook)
        else:
            answer = api.place(given.order)
            if answer.body.get("code") == "path_not_allowed" and _path_of(given):
                return _place(api, _uploaded(api, given))
    except NoAnswerError as error:
        text = f"no answer ({error}); repeat the command: it makes no second order"
        print(f"{title}: {printable(text)}", file=sys.stderr)
        return None
    if not answer.is_success:
        _print_refusal(title, answer)
        return None
    order_id = printable(answer.body["id"])
    note = ""
    if answer.is_replayed:
        note = " (accepted before; its answer was lost)"
    print(f"{title}: {api.url}/v1/orders/{order_id}{note}", flush=True)
    return Followed(given.title, answer.body)


def _uploaded(api: OrderApi, given: Given) -> Given:
    """Return the order with its slide sent to the service; with a fault where that failed.

    An order of a URL or a task is returned as it is.
    """
    path = _path_of(given)
    if path is None or given.fault:
        return given
    try:
        upload = UploadClient(api, PendingUploads.of_user()).send(path, given.title)
    except UploadRefusedError as error:
        problem = error.answer.body
        text = f"{problem.get('code', error.answer.status)}: {problem.get('detail', '')}"
        if problem.get("hint"):
            text += f" ({problem['hint']})"
        return replace(given, fault=text)
    except SlideUnreadableError as error:
        return replace(given, fault=str(error))
    except NoAnswerError as error:
        text = f"the upload was interrupted ({error}); repeat the command: it goes on from there"
        return replace(given, fault=text)
    (scan,) = given.order["scans"]
    source = {"type": "upload", "upload": upload}
    return replace(given, order={**given.order, "scans": [{**scan, "source": source}]})


def _path_of(given: Given) -> Path | None:
    """Return the slide's file on this machine; None where the order names none that exists."""
    for scan in given.order.get("scans", ()):
        path = scan["source"].get("path")
        if path is not None and Path(path).is_file():
            return Path(path)
    return None


def _print_refusal(title: str, answer: Answer) -> None:
    problem = answer.body
    code = printable(problem.get("code", answer.status))
    print(f"{title}: {code}: {printable(problem.get('detail', ''))}", file=sys.stderr)
    hint = problem.get("hint")
    if answer.status == 401:
        hint = "put the key into SLIDELANE_KEY, or name its file in SLIDELANE_KEY_FILE"
    if hint:
        print(f"  {printable(hint)}", file=sys.stderr)


def _follow(api: OrderApi, orders: Sequence[Followed]) -> None:
    """Show how far the orders are until all have ended. Raise `CommandError` for a lost service."""
    title = orders[0].title
    if len(orders) > 1:
        title = f"{len(orders)} orders"
    began_at = time.monotonic()
    answered_at = began_at
    with ProgressDisplay(title) as display:
        waiting = [order for order in orders if not order.has_ended]
        while waiting:
            for order in waiting:
                if _look(api, order):
                    answered_at = time.monotonic()
                if order.has_ended and len(orders) > 1:
                    display.line(f"{order.title}: {_end_of(order)}")
                _show(display, orders, began_at)
            if time.monotonic() - answered_at > _PATIENCE_S:
                raise CommandError(
                    f"the service has not answered for {_PATIENCE_S:g} s; the orders are stored, "
                    f"and {api.url}/v1/orders shows them once it does"
                )
            waiting = [order for order in waiting if not order.has_ended]
            if waiting:
                time.sleep(_POLL_S)


def _look(api: OrderApi, order: Followed) -> bool:
    """See how the order is now; return whether the service answered."""
    try:
        answer = api.get(order.order["id"])
    except NoAnswerError:
        return False
    if answer.is_success:
        order.order = answer.body
    elif answer.status == 404:
        error = {"code": "not_found", "detail": "the order was deleted"}
        order.order = order.order | {"state": OrderState.CANCELLED.value, "error": error}
    return answer.status < 500


def _show(display: ProgressDisplay, orders: Sequence[Followed], began_at: float) -> None:
    if len(orders) == 1:
        _show_one(display, orders[0].order)
        return
    ended = sum(order.has_ended for order in orders)
    percent = sum(order.percent for order in orders) / len(orders)
    eta_s = None
    if percent > 1:
        eta_s = (time.monotonic() - began_at) * (100 / percent - 1)
    display.show("ended", ended, len(orders), eta_s)


def _show_one(display: ProgressDisplay, order: dict[str, Any]) -> None:
    state = str(order.get("state"))
    progress = order["scans"][0]["progress"]
    if state != OrderState.RUNNING.value:
        display.show(state, 0, 1)
        return
    eta_s = order["progress"]["eta_s"]
    total = progress["total"] or 1
    display.show(f"{state}: {progress['stage']}", progress["done"], total, eta_s)


def _is_delivered(order: Followed) -> bool:
    return order.order.get("state") == OrderState.DELIVERED.value


def _end_of(order: Followed) -> str:
    """Return the state, with the problem of an order that did not come to a good end."""
    text = str(order.order.get("state"))
    problem = _problem_of(order.order)
    if _is_delivered(order) or not problem:
        return text
    text += f": {problem.get('code')}: {problem.get('detail')}"
    if problem.get("hint"):
        text += f" ({problem['hint']})"
    return text


def _problem_of(order: dict[str, Any]) -> Any:
    """Return the problem of the first scan that has one, else the order's own, else None."""
    for scan in order.get("scans", ()):
        if scan.get("error"):
            return scan["error"]
    return order.get("error")


def _print_result(url: str, order: Followed) -> None:
    print(printable(f"{order.title}: {_end_of(order)}"))
    for scan in order.order.get("scans", ()):
        for warning in scan.get("warnings", ()):
            text = printable(f"warning {warning['code']}: {warning['detail']}")
            print(f"  {text}", file=sys.stderr)
        if scan.get("summary", {}).get("headline"):
            print(printable(f"  {scan['summary']['headline']}"))
        for link in scan.get("links", {}).values():
            print(printable(f"  {url}{link}"))
