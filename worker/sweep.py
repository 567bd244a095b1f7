"""Removes what nobody is to keep any longer: orders that ended long ago, their results and parcels."""

import logging
import shutil
from threading import Event

from broker.errors import TemporaryError
from worker.bench import Bench

_EVERY_S = 60.0
_log = logging.getLogger(__name__)


def sweep(here: Bench, stopped: Event) -> None:
    """Once a minute until `stopped`. Files go before their record: what is left of a sweep that died is swept again."""
    while not stopped.wait(_EVERY_S):
        try:
            for order_id in here.store.forgettable():
                remove_files(here, order_id)
                here.store.forget(order_id)
        except TemporaryError as error:
            _log.warning("the sweep waits: %s", error.detail)


def remove_files(here: Bench, order_id: str) -> None:
    """Everything on disk that belongs to the order."""
    shutil.rmtree(here.data / "results" / order_id, ignore_errors=True)
    for parcel in (here.data / "parcels").glob(f"*{order_id}*"):
        parcel.unlink(missing_ok=True)
