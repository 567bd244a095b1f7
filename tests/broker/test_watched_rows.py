"""What `slidelane doctor` says of watched folders."""

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.order_store.arrivals import Arrival, Look
from broker.service_checks import watched_rows


def test_a_watched_folder_has_a_row(store: OrderStore) -> None:
    """How many slides, whether somebody looks, what waits and what was refused, with the reason."""
    assert list(watched_rows(store, names_files=True)) == []
    arrivals = store.arrivals
    arrivals.lead("f", "courier-1", 60)
    arrivals.note_look("f", Look("/slides/in", "ki67", 7, 2))
    (row,) = watched_rows(store, names_files=True)
    assert (row.what, row.state) == ("watch", "ok")
    assert row.message == "/slides/in: 7 slides, 2 arriving, policy ki67"
    for name in ("a.svs", "b.svs"):
        arrivals.arrive(Arrival("f", f"/slides/in/{name}", name, "1:1"))
    refused, waiting = arrivals.take()
    arrivals.end(refused, Problem("parameters_invalid", "parameters.x: there is none"))
    arrivals.postpone(waiting, "algorithm_unavailable", 60)
    arrivals.stop_leading("f", "courier-1")
    arrivals.note_look("f", Look("/slides/in", "ki67", 7, 0, "it cannot be listed (Stale)"))
    (row,) = watched_rows(store, names_files=True)
    assert row.state == "failed"
    for part in (
        "it cannot be listed (Stale)",
        "no courier looks at it now",
        f"1 wait, such as {waiting.relative}: algorithm_unavailable",
        f"1 were refused, such as {refused.relative}: parameters_invalid: parameters.x: there is none",
    ):
        assert part in row.message
