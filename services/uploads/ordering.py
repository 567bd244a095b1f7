"""Refuses orders of uploads that are unknown, another caller's, or not whole."""

from broker.errors import OrderError
from broker.orders.request import OrderRequest
from broker.orders.source import UploadSource
from broker.settings.config import Config
from broker.uploads import Uploads


def check_uploads(request: OrderRequest, config: Config, caller: str) -> None:
    """Raise `OrderError` unless `caller` may order every upload of the order. It is a use of them.

    Codes: `upload_not_found`, `upload_incomplete`.
    """
    uploads = Uploads(config.broker.uploads_folder)
    for index, scan in enumerate(request.scans):
        if isinstance(scan.source, UploadSource):
            field = f"scans[{index}].source.upload"
            try:
                uploads.require_whole(scan.source.upload, caller)
            except OrderError as fault:
                detail = f"{field}: {fault.detail}"
                raise OrderError(fault.code, detail, hint=fault.hint, field=field) from None
