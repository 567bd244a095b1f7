"""Refuses orders of uploads that are unknown, another caller's, or not whole."""

from broker.errors import OrderError
from broker.orders.request import OrderRequest
from broker.orders.source import Source, UploadSource
from broker.settings.config import Config
from broker.uploads import Uploads


def check_uploads(request: OrderRequest, config: Config, caller: str) -> None:
    """Raise `OrderError` unless `caller` may order every upload of the order. It is a use of them.

    Codes: `upload_not_found`, `upload_incomplete`.
    """
    for index, scan in enumerate(request.scans):
        check_upload(scan.source, f"scans[{index}].source", config, caller)


def check_upload(source: Source, field: str, config: Config, caller: str) -> None:
    """Raise `OrderError` for an upload that `caller` may not use; do nothing for another source.

    Codes: `upload_not_found`, `upload_incomplete`.
    """
    if not isinstance(source, UploadSource):
        return
    try:
        Uploads(config.broker.uploads_folder).require_whole(source.upload, caller)
    except OrderError as fault:
        field += ".upload"
        detail = f"{field}: {fault.detail}"
        raise OrderError(fault.code, detail, hint=fault.hint, field=field) from None
