"""Faults of slide files, one class for each code, each with the hint that helps where nothing better is known."""

from broker.errors import OrderError


class NotASlideError(OrderError):
    """The file is no slide and no image that is read here. Code: `not_a_slide`."""

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "see that the source gives the slide itself, whole",
        field: str = "",
    ) -> None:
        super().__init__("not_a_slide", detail, hint=hint, field=field)


class UnreadableSlideError(OrderError):
    """The slide is damaged, or of a kind that is not read here. Code: `slide_unreadable`."""

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "open it with OpenSlide; if that fails too, the file is broken or of an unknown kind",
        field: str = "",
    ) -> None:
        super().__init__("slide_unreadable", detail, hint=hint, field=field)
