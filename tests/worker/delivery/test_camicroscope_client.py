"""Storing marks in a caMicroscope 3 that loses answers, stores by halves, and holds other marks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import TemporaryError
from demo.camicroscope import CaMicroscopeReceiver
from demo.faults import Fault
from tests.support.destinations import a_destination
from tests.support.results import a_result, nuclei
from worker.delivery.destination import Destination
from worker.delivery.payload import Payload

SLIDE = "5f9ad1c8f4a3b2001d2c1e77"
POST = "POST /data/Mark/post"
FIND = "GET /data/Mark/find"


@pytest.fixture
def site() -> Iterator[CaMicroscopeReceiver]:
    with CaMicroscopeReceiver() as receiver:
        yield receiver


def viewer(site: CaMicroscopeReceiver, **fields: Any) -> Destination:
    given = {"type": "camicroscope", "url": site.url, "slide": SLIDE, "token": site.token}
    return a_destination(read_timeout_s=60, **(given | fields))


def built(destination: Destination, tmp_path: Path, count: int = 9) -> Payload:
    return destination.build_payload([a_result(nuclei(count))], tmp_path / "payload")


def numbers(site: CaMicroscopeReceiver) -> list[int]:
    return [one["slidelane"]["number"] for one in site.documents["Mark"]]


def test_all_parts_are_stored(site: CaMicroscopeReceiver, tmp_path: Path) -> None:
    """Each with one request; before anything is sent, what is there is asked for."""
    destination = viewer(site)
    payload = built(destination, tmp_path, 520)
    assert destination.has_received("ord-1") is False
    site.queries.clear()
    receipt = destination.post(payload)
    assert (receipt.outcome, receipt.status) == ("accepted", 200)
    assert numbers(site) == list(range(520))
    assert [entry.note["documents"] for entry in site.ledger] == [500, 20]
    (query,) = site.queries
    assert query["provenance.image.slide"] == SLIDE
    assert query["provenance.analysis.execution_id"] == "slidelane:ord-1"
    assert destination.has_received("ord-1") is True
    assert destination.has_received("ord-2") is False


def test_what_is_there_is_not_sent_again(site: CaMicroscopeReceiver, tmp_path: Path) -> None:
    """A delivery that is asked for again finds everything."""
    destination = viewer(site)
    payload = built(destination, tmp_path, 520)
    destination.post(payload)
    assert destination.post(payload).outcome == "accepted"
    assert numbers(site) == list(range(520))


@pytest.mark.parametrize("is_paged", [False, True])
def test_of_a_part_that_was_stored_by_halves_the_rest_is_sent(
    site: CaMicroscopeReceiver, tmp_path: Path, is_paged: bool
) -> None:
    """A 500 may have stored the first documents of an array, as `insertMany` does."""
    site.is_paged = is_paged
    site.stored_before_failure = [500, 13]
    destination = viewer(site)
    payload = built(destination, tmp_path, 520)
    receipt = destination.post(payload)
    assert (receipt.outcome, receipt.status) == ("later", 500)
    assert len(numbers(site)) == 513
    assert destination.has_received("ord-1") is False
    assert destination.post(payload).outcome == "accepted"
    assert numbers(site) == list(range(520))


def test_a_part_whose_answer_was_lost_is_looked_for(
    site: CaMicroscopeReceiver, tmp_path: Path
) -> None:
    """It is unknown whether it was stored; the next attempt asks first and goes on."""
    site.faults.add(Fault(on=POST, cut="after"))
    destination = viewer(site)
    payload = built(destination, tmp_path, 520)
    assert destination.post(payload).outcome == "unknown"
    assert destination.post(payload).outcome == "accepted"
    assert numbers(site) == list(range(520))


def test_a_page_in_place_of_an_answer_is_no_yes(site: CaMicroscopeReceiver, tmp_path: Path) -> None:
    """To an insert it leaves open what was stored, to a question it is no answer."""
    destination = viewer(site)
    payload = built(destination, tmp_path)
    site.faults.add(Fault(on=POST, page="instead"))
    assert destination.post(payload).outcome == "unknown"
    site.faults.add(Fault(on=FIND, page="instead"))
    assert destination.post(payload).outcome == "later"
    site.faults.add(Fault(on=FIND, page="instead"))
    with pytest.raises(TemporaryError, match="200 text/html"):
        destination.has_received("ord-1")
    assert numbers(site) == []


def test_a_token_that_is_refused_ends_the_order(site: CaMicroscopeReceiver, tmp_path: Path) -> None:
    """401: the server's words, what to do, and no token in them."""
    destination = viewer(site, token="expired-token")
    receipt = destination.post(built(destination, tmp_path))
    assert (receipt.outcome, receipt.status) == ("refused", 401)
    assert "token failed check" in receipt.detail
    assert "deliver again to this destination with a new one" in receipt.detail
    assert "expired-token" not in receipt.detail
    assert destination.has_received("ord-1") is None


def test_a_site_without_security_needs_no_token(tmp_path: Path) -> None:
    """`DISABLE_SEC`, the default of its compose file."""
    with CaMicroscopeReceiver(token="") as site:
        destination = viewer(site, token=None)
        assert destination.post(built(destination, tmp_path)).outcome == "accepted"


def test_a_site_that_refuses_angles_takes_it(site: CaMicroscopeReceiver, tmp_path: Path) -> None:
    """`ERR_ON_SANITIZE`: there are none in any body."""
    site.refuses_angles = True
    destination = viewer(site)
    assert destination.post(built(destination, tmp_path)).outcome == "accepted"


def order_of(site: CaMicroscopeReceiver, order_id: str, tmp_path: Path, **fields: Any) -> None:
    """Deliver 520 nuclei of another order, in two parts."""
    earlier = viewer(site, **fields)
    object.__setattr__(earlier, "order_id", order_id)
    assert earlier.post(built(earlier, tmp_path, 520)).outcome == "accepted"


def test_replace_deletes_our_earlier_runs_of_the_same_name_only(
    site: CaMicroscopeReceiver, tmp_path: Path
) -> None:
    """Marks of people, of other runs and on other slides stay."""
    site.documents["Mark"].append(
        {
            "_id": {"$oid": "a" * 24},
            "provenance": {"image": {"slide": SLIDE}, "analysis": {"execution_id": "run-1"}},
        }
    )
    order_of(site, "ord-0", tmp_path, execution_id="run-1")
    order_of(site, "ord-0", tmp_path, execution_id="run-2")
    order_of(site, "ord-0", tmp_path, execution_id="run-1", slide="another")
    destination = viewer(site, execution_id="run-1", replace=True)
    assert destination.post(built(destination, tmp_path, 7)).outcome == "accepted"
    found = site.documents["Mark"]
    assert len(found) == 1 + 520 + 520 + 7
    assert found[0]["_id"]["$oid"] == "a" * 24
    here = [one for one in found if one.get("slidelane", {}).get("order") == "ord-1"]
    assert len(here) == 7


def test_a_replacement_that_was_interrupted_goes_on(
    site: CaMicroscopeReceiver, tmp_path: Path
) -> None:
    """Nothing is sent before everything of the earlier run is gone."""
    order_of(site, "ord-0", tmp_path, execution_id="run-1")
    destination = viewer(site, execution_id="run-1", replace=True)
    payload = built(destination, tmp_path, 7)
    delete = "DELETE /data/Mark/delete"
    for fault in (Fault(on=delete, times=100), Fault(on=delete, cut="after")):
        site.faults.add(fault)
    assert destination.post(payload).outcome == "later"
    assert len(numbers(site)) == 520 - 101
    assert destination.post(payload).outcome == "accepted"
    assert numbers(site) == list(range(7))


def test_an_earlier_run_stays_unless_it_is_to_be_replaced(
    site: CaMicroscopeReceiver, tmp_path: Path
) -> None:
    """Two regions of a slide may be one layer."""
    order_of(site, "ord-0", tmp_path, execution_id="run-1")
    destination = viewer(site, execution_id="run-1")
    assert destination.post(built(destination, tmp_path, 7)).outcome == "accepted"
    assert len(numbers(site)) == 527
