"""What a worker accepts as the answer of a decoder process, which a hostile slide may control."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.geometry.frame import Frame
from worker.slides.errors import NotASlideError, UnreadableSlideError


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


_Pixels = Annotated[int, Field(gt=0, lt=2**31)]
_Size = tuple[_Pixels, _Pixels]
_Name = Annotated[str, Field(pattern=r"^[ -~]{1,64}$")]


class Refusal(_StrictModel):
    """An error of the slide file that the process reports."""

    code: Literal["not_a_slide", "slide_unreadable"]
    detail: str = Field(max_length=4000)
    hint: str = Field(max_length=4000)

    def as_error(self) -> NotASlideError | UnreadableSlideError:
        """Return the error as the class that stands for its code."""
        if self.code == "not_a_slide":
            return NotASlideError(self.detail, hint=self.hint)
        return UnreadableSlideError(self.detail, hint=self.hint)


class ReportedWarning(_StrictModel):
    """A reason to doubt what the slide shows."""

    code: str = Field(max_length=80)
    detail: str = Field(max_length=1000)


class ReportedDescription(_StrictModel):
    """What the slide's file says of itself; the names are those of files that nobody trusts."""

    vendor: str = Field(max_length=64)
    levels: tuple[_Size, ...] = Field(max_length=64)
    associated: dict[_Name, _Size] = Field(max_length=16)


class Answer(_StrictModel):
    """An answer of the process. Everything else is refused."""

    frame: Frame | None = None
    description: ReportedDescription | None = None
    reader: str = Field("", max_length=400)
    warnings: tuple[ReportedWarning, ...] = Field((), max_length=20)
    refusal: Refusal | None = None
    is_short_of_memory: bool = False
    bug: str = Field("", max_length=8000)
