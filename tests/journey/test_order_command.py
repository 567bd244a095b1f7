"""`slidelane order`: slides go to the running service, and what came of them is told truly."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from demo.annotation import AnnotationReceiver
from tests.support.command_line import slidelane
from tests.support.stack import Stack

ADDRESS = re.compile(r"/v1/orders/([0-9a-f]{24})\b")


def order(stack: Stack, state: Path, *arguments: object) -> Any:
    """Run the command against the service, with a folder for its state."""
    return slidelane(
        "order", *arguments, "--set", f"services.port={stack.port}", XDG_STATE_HOME=str(state)
    )


def test_a_slide_is_ordered_and_followed_to_its_end(
    stack: Stack, slide: Path, tmp_path: Path
) -> None:
    """Status 0 once it is delivered; headline and the addresses of the results are printed."""
    done = order(
        stack, tmp_path, slide, "--roi", "1001,999,1500,1200", "--set", "positive_threshold=0.2",
        "--wait",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    order_id = ADDRESS.findall(done.stdout)[0]
    shown = stack.get(order_id)
    assert shown["state"] == "delivered"
    assert shown["parameters"]["positive_threshold"] == 0.2
    assert shown["scans"][0]["roi"] == {"x": 1001, "y": 999, "width": 1500, "height": 1200}
    assert "Ki-67 labelling index" in done.stdout
    assert f"{stack.url}{shown['scans'][0]['links']['results.zip']}\n" in done.stdout
    assert f"{slide}: queued" in done.stderr or f"{slide}: running" in done.stderr


def test_one_wrong_row_does_not_stop_a_table(stack: Stack, slide: Path, tmp_path: Path) -> None:
    """The rows are named by their lines: one that is none, one that is refused, one that fails."""
    (slide.parent / "text.svs").write_text("no slide")
    table = tmp_path / "slides.csv"
    rows = [
        "path,algorithm,roi,label.case",
        f'{slide},grid,"0,0,500,500",S26-1',
        f"{slide},grid,nowhere,S26-2",
        f"{slide},none,,S26-3",
        f"{slide.parent / 'text.svs'},grid,,S26-4",
        f"{slide},grid,square,S26-5",
    ]
    table.write_text("\n".join(rows))
    done = order(stack, tmp_path, table, "--wait")
    assert done.returncode == 1
    assert "slides.csv line 3: 'nowhere' is no region" in done.stderr
    assert re.search(r"slides.csv line 4, .*: algorithm_unknown: ", done.stderr)
    assert re.search(r"slides.csv line 5, .*: failed: .*not_a_slide", done.stdout)
    ids = list(dict.fromkeys(ADDRESS.findall(done.stdout)))
    states = {stack.get(one)["labels"]["case"]: stack.get(one)["state"] for one in ids}
    assert states == {"S26-1": "delivered", "S26-4": "failed", "S26-5": "delivered"}


def test_without_waiting_the_answer_is_the_address(
    stack: Stack, slide: Path, tmp_path: Path
) -> None:
    """Status 0 once the order is stored; the same command again is another order."""
    first = order(stack, tmp_path, slide, "--algorithm", "grid")
    second = order(stack, tmp_path, slide, "--algorithm", "grid")
    ids = ADDRESS.findall(first.stdout + second.stdout)
    assert (first.returncode, second.returncode, len(set(ids))) == (0, 0, 2)
    for order_id in ids:
        stack.wait_until(order_id, "delivered")


def test_without_a_service_the_command_says_so(slide: Path, tmp_path: Path) -> None:
    """Status 1 and one sentence; bad usage is status 2 and sends nothing."""
    done = slidelane("order", slide, "--set", "services.port=9", XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "no service answers at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "a.csv").write_text("path,colour\n")
    assert slidelane("order", tmp_path / "a.csv").returncode == 2
    assert slidelane("order", slide, "--roi", "1,2").returncode == 2
    assert slidelane("order").returncode == 2


@pytest.fixture
def naming(stack: Stack, loader: AnnotationReceiver) -> Iterator[Stack]:
    """The service with an API whose settings name the loader."""
    env = stack.env
    destination = {"type": "annotation", "url": f"{loader.url}/submitZipOrder"}
    named = {"SLIDELANE_SERVICES__DESTINATIONS": json.dumps({"loader": destination})}
    stack.env = env | named
    restart_api(stack)
    yield stack
    stack.env = env
    restart_api(stack)


def restart_api(stack: Stack) -> None:
    stack.kill("api", SIGTERM)
    stack.start("api")
    stack.wait_ready()


def test_results_go_where_a_row_names(
    naming: Stack, loader: AnnotationReceiver, slide: Path, tmp_path: Path
) -> None:
    """To the destination of --to with the case of the row; another name is refused with those
    that there are. Only the API has the setting."""
    table = tmp_path / "slides.csv"
    table.write_text(f'path,algorithm,roi,to,to.case_id\n{slide},grid,"0,0,500,500",,S26-1\n')
    done = order(naming, tmp_path, table, "--to", "loader", "--wait")
    assert done.returncode == 0, done.stderr
    shown = naming.get(ADDRESS.findall(done.stdout)[0])
    assert (shown["destination"]["name"], shown["state"]) == ("loader", "delivered")
    assert [entry.note["case"] for entry in loader.ledger] == ["S26-1"]
    refused = order(naming, tmp_path, slide, "--to", "clinic")
    assert refused.returncode == 1
    assert "request_invalid: destination: there is no destination 'clinic'" in refused.stderr
    assert "there are: loader" in refused.stderr


def test_a_slide_that_the_service_cannot_read_is_sent(
    stack: Stack, slide: Path, tmp_path: Path
) -> None:
    """One that lies outside of the roots by itself; any other with --upload. The order names what
    was sent, and the same file is sent once.
    """
    own = tmp_path / "S26-1234.svs"
    own.write_bytes(slide.read_bytes())
    first = order(stack, tmp_path, own, "--algorithm", "grid", "--wait")
    assert first.returncode == 0, first.stderr
    assert f"{own}: uploading" in first.stderr
    second = order(stack, tmp_path, own, "--algorithm", "grid")
    third = order(stack, tmp_path, slide, "--algorithm", "grid", "--upload", "--wait")
    ids = [ADDRESS.findall(done.stdout)[0] for done in (first, second, third)]
    sources = [stack.get(one)["scans"][0]["source"] for one in ids]
    assert [source["type"] for source in sources] == ["upload"] * 3
    assert sources[0] == sources[1] != sources[2]
    missing = order(stack, tmp_path, tmp_path / "none.svs")
    assert missing.returncode == 1
    assert "path_not_allowed" in missing.stderr
