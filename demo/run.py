"""`python -m demo.run`: shows the whole service, from a slide to delivered results, in minutes.

Starts everything on loopback, orders the sample slide as a whole and as a region, and ends every
process that it started.
"""

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.annotation import SUBMIT, AnnotationReceiver
from demo.bucket import FileBucket
from demo.console import Screen
from demo.orders import Followed, FollowError, Orders
from demo.slide import make_sample_slide, tissue_roi
from demo.stack import Stack, StackError
from demo.techcyte import TechcyteReceiver
from slidelane.serve import SAMPLE

TASK = "185714"
SCAN = "8946136"
CASE = "S26-1234"
ALGORITHM = "ki67"
DATA = "slidelane-data"
"""The service's data folder, in the output. `make serve` can go on with it."""
PAGE = "http://127.0.0.1:8000"
RESULTS = ("overlay.png", "features.geojson", "region.geojson")
WITHIN_S = 900.0
FAILED = 1
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration. Return 0 only if both orders were delivered, each exactly once."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=main.__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        help="the service's data folder (default: slidelane-data in --output, made anew)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="where the results are put"
    )
    parser.add_argument(
        "--width", type=int, default=20000, metavar="PX", help="of the sample slide"
    )
    parser.add_argument("--height", type=int, default=12000, metavar="PX")
    arguments = parser.parse_args(argv)
    data = arguments.data
    if data is None:
        data = arguments.output / DATA
        shutil.rmtree(data, ignore_errors=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does, these raise KeyboardInterrupt, so that what was started is ended.
        signal.signal(number, signal.default_int_handler)
    size_px = (arguments.width, arguments.height)
    return _run(data.resolve(), arguments.output.resolve(), size_px)


def _run(data: Path, output: Path, size_px: tuple[int, int]) -> int:
    """Return the exit status, and print why it is not 0."""
    screen = Screen()
    try:
        if demonstrate(screen, data, output, size_px):
            return 0
        screen.failed("not everything was delivered exactly once")
    except (StackError, FollowError) as error:
        screen.failed(str(error))
    except KeyboardInterrupt:
        screen.failed("interrupted; everything it started has ended")
        return INTERRUPTED
    screen.failed(f"everything it wrote is kept in {data}")
    return FAILED


def demonstrate(screen: Screen, data: Path, output: Path, size_px: tuple[int, int]) -> bool:
    """Do everything from the slide to the report.

    Return whether both orders are delivered and both receivers hold their results exactly once.
    """
    slide = _draw_slide(screen, data / SAMPLE, size_px)
    bucket = FileBucket(slide)
    techcyte = TechcyteReceiver({TASK: {SCAN}})
    annotation = AnnotationReceiver()
    with bucket, techcyte, annotation, Stack(data, (slide.parent,)) as stack:
        with screen.step("Starting Redis, API, courier, worker and Flower"):
            stack.wait_ready()
        screen.done(f"service ready at {stack.url}, Flower at {stack.flower_url}")
        orders = Orders(stack.url)
        placed = [
            orders.place("whole slide → Techcyte", whole_slide(bucket, techcyte)),
            orders.place("region → annotation loader", region(slide, annotation)),
        ]
        with screen.watch(placed) as view:
            for _ in orders.follow(placed, WITHIN_S):
                stack.check()
                view.show()
        screen.report(placed, {"Techcyte": techcyte, "annotation loader": annotation})
        files = _download(orders, placed, output)
        screen.files([_keep_slide(slide, output), *files])
    screen.page(f"make serve DATA={shlex.quote(str(data))}", [page(order) for order in placed])
    if any(order.order["state"] != "delivered" for order in placed):
        return False
    return len(techcyte.ledger) == len(techcyte.evaluations) == len(annotation.ledger) == 1


def _draw_slide(screen: Screen, path: Path, size_px: tuple[int, int]) -> Path:
    width_px, height_px = size_px
    with screen.step("Drawing a section (synthetic; no patient, no photograph)"):
        path.parent.mkdir(parents=True, exist_ok=True)
        make_sample_slide(path, width_px, height_px)
    size_mb = path.stat().st_size / 1e6
    screen.done(f"drawn section of {width_px:,} x {height_px:,} px, {size_mb:.0f} MB")
    return path


def whole_slide(bucket: FileBucket, techcyte: TechcyteReceiver) -> dict[str, Any]:
    """Return the order of a whole slide at a presigned URL, for Techcyte."""
    return {
        "algorithm": ALGORITHM,
        "scans": [
            {"id": SCAN, "source": {"type": "url", "url": bucket.signed_url}, "stain": "Ki67"}
        ],
        "destination": {
            "type": "techcyte",
            "base_url": techcyte.url,
            "task_id": TASK,
            "jwt_token": techcyte.jwt_token,
        },
        "labels": {"case": CASE},
    }


def region(slide: Path, annotation: AnnotationReceiver) -> dict[str, Any]:
    """Return the order of a region of a slide on disk, for the annotation loader."""
    return {
        "algorithm": ALGORITHM,
        "scans": [
            {
                "id": SCAN,
                "source": {"type": "path", "path": str(slide.resolve())},
                "roi": tissue_roi(slide),
            }
        ],
        "destination": {"type": "annotation", "url": f"{annotation.url}{SUBMIT}", "case_id": CASE},
        "labels": {"case": CASE},
    }


def page(order: Followed) -> str:
    """Return the address at which `make serve` shows the order's only scan."""
    return f"{PAGE}/#/orders/{order.order['id']}/{SCAN}"


def _keep_slide(slide: Path, output: Path) -> Path:
    """Put the slide beside its results, where QuPath finds both; return its new path."""
    output.mkdir(parents=True, exist_ok=True)
    copy = output / "drawn-section.svs"
    shutil.copyfile(slide, copy)
    return copy


def _download(orders: Orders, placed: Sequence[Followed], output: Path) -> list[Path]:
    """Download the results of what was classified; return the paths of the files."""
    files = []
    for order, folder in zip(placed, ("whole-slide", "region"), strict=True):
        if order.scan["state"] == "classified":
            files += [orders.download(order, name, output / folder) for name in RESULTS]
    return files


if __name__ == "__main__":
    sys.exit(main())
