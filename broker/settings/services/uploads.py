"""The settings of uploads: how much callers may send, and how long it is kept."""

from pydantic import Field

from broker.settings.section import Section


class UploadSettings(Section):
    """Slides that callers send in, at `/v1/uploads`."""

    max_bytes: int = Field(
        50 * 10**9, gt=0, description="the largest upload; files of one slide count together"
    )
    per_caller: int = Field(
        1000, ge=1, description="uploads of one caller that are kept; one more is answered 429"
    )
    keep_s: float = Field(
        86400, gt=0, description="an upload that was not used for so long is removed"
    )
