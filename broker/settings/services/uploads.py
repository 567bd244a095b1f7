"""The settings of uploads: how much callers may send, and how long it is kept."""

from typing import Self

from pydantic import Field, model_validator

from broker.settings.section import Section


class UploadSettings(Section):
    """Slides that callers send in, at `/v1/uploads`."""

    max_bytes: int = Field(
        50 * 10**9, gt=0, description="the largest upload; files of one slide count together"
    )
    per_caller: int = Field(
        1000, ge=1, description="uploads of one caller that are kept; one more is answered 429"
    )
    per_caller_bytes: int = Field(
        10**12,
        gt=0,
        description="bytes of all uploads of one caller that are kept; more are answered 429",
    )
    keep_s: float = Field(
        86400, gt=0, description="an upload that was not used for so long is removed"
    )

    @model_validator(mode="after")
    def _holds_the_largest(self) -> Self:
        if self.max_bytes > self.per_caller_bytes:
            raise ValueError(
                f"per_caller_bytes is {self.per_caller_bytes}, too little for one upload of "
                f"max_bytes, {self.max_bytes}; raise the one or lower the other"
            )
        return self
