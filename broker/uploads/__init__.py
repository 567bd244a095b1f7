"""Slides that callers sent in: the API writes them, workers read and remove them."""

from broker.uploads.folder import Uploads, UploadStatus
from broker.uploads.limits import UploadLimits
from broker.uploads.manifest import UploadedFile

__all__ = ["UploadLimits", "UploadStatus", "UploadedFile", "Uploads"]
