"""`python -m demo.run`: the whole service shown once, from a slide to delivered results, in a minute or two.

Starts everything on loopback, orders the sample slide as a whole and as a region, and leaves no process behind.
"""

import argparse
import shutil
import signal
import sys
import tempfile
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

TASK, SCAN, CASE = "185714", "8946136", "S26-1234"
ALGORITHM = "ki67"
RESULTS = ("overlay.png", "features.geojson")
WITHIN_S = 900.0
FAILED, INTERRUPTED = 1, 130


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; 0 only if both orders were delivered, each exactly once."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=main.__doc__)
    parser.add_argument(
        "--data", type=Path, help="keep everything in this folder (default: a temporary one)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="where the results are put"
    )
    parser.add_argument(
        "--width", type=int, default=20000, metavar="PX", help="of the sample slide"
    )
    parser.add_argument("--height", type=int, default=12000, metavar="PX")
    given = parser.parse_args(argv)
    data = given.data or Path(tempfile.mkdtemp(prefix="slidelane-"))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.default_int_handler
        )  # every way to end it ends what it started
    code = _attempt(data.resolve(), given.output.resolve(), (given.width, given.height))
    if given.data is None and code != FAILED:
        shutil.rmtree(data, ignore_errors=True)
    return code


def _attempt(data: Path, output: Path, size: tuple[int, int]) -> int:
    screen = Screen()
    try:
        if demonstrate(screen, data, output, size):
            return 0
        screen.failed("not everything was delivered exactly once")
    except (StackError, FollowError) as error:
        screen.failed(str(error))
    except KeyboardInterrupt:
        screen.failed("interrupted; everything it started has ended")
        return INTERRUPTED
    screen.failed(f"everything it wrote is kept in {data}")
    return FAILED


def demonstrate(screen: Screen, data: Path, output: Path, size: tuple[int, int]) -> bool:
    """Everything from the slide to the report; whether both receivers hold exactly what was ordered."""
    slide = _drawn(screen, data / "slides" / "sample.svs", size)
    bucket, techcyte, annotation = (
        FileBucket(slide),
        TechcyteReceiver({TASK: {SCAN}}),
        AnnotationReceiver(),
    )
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
        screen.files(_pick_up(orders, placed, output))
    once = len(techcyte.ledger) == len(techcyte.evaluations) == len(annotation.ledger) == 1
    return once and all(order.order["state"] == "delivered" for order in placed)


def _drawn(screen: Screen, path: Path, size: tuple[int, int]) -> Path:
    with screen.step("Drawing a sample slide"):
        path.parent.mkdir(parents=True, exist_ok=True)
        make_sample_slide(path, *size)
    screen.done(f"sample slide of {size[0]:,} x {size[1]:,} px, {path.stat().st_size / 1e6:.0f} MB")
    return path


def whole_slide(bucket: FileBucket, techcyte: TechcyteReceiver) -> dict[str, Any]:
    """The order of a whole slide behind a presigned URL, for Techcyte."""
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
    """The order of a region of a slide on disk, for the annotation loader."""
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


def _pick_up(orders: Orders, placed: Sequence[Followed], output: Path) -> list[Path]:
    folders = zip(placed, ("whole-slide", "region"), strict=True)
    return [
        orders.pick_up(order, name, output / folder)
        for order, folder in folders
        if order.scan["state"] == "classified"
        for name in RESULTS
    ]


if __name__ == "__main__":
    sys.exit(main())
