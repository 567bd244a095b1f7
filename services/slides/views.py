"""A slide that somebody looks at, and the folders of the server, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from broker.order_store.viewed_slides import ViewedSlide
from services.responses.problems import stored_problem
from services.responses.views import ABSENT

PREFIX = "/v1/slides"


class LevelView(BaseModel):
    """One stored level of a slide's pyramid."""

    width: int
    height: int
    downsample: float


class SlideFacts(BaseModel):
    """What the viewer says of a slide that it opened."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    mpp_x: float | None = None
    mpp_y: float | None = None
    mpp_source: str = Field("none", max_length=64)
    vendor: str = Field("", max_length=256)
    digest: str = Field("", max_length=80, pattern=r"^((stat:)?[0-9a-f]{1,64})?$")
    bytes: int = Field(0, ge=0)
    levels: tuple[LevelView, ...] = Field((), max_length=64)
    associated: tuple[Annotated[str, Field(max_length=64)], ...] = Field((), max_length=64)


class DoneView(BaseModel):
    """How far the fetch of a slide is, in bytes; `total` is 0 while it is not known."""

    done: int
    total: int


class SlideView(BaseModel):
    """A slide that somebody looks at. Its size and resolution are null until it is `ready`."""

    id: str = Field(description='names it in an order: `{"type": "slide", "slide": ID}`')
    state: Literal["fetching", "ready", "failed"]
    progress: DoneView
    name: str = Field(description="what its file is called; empty where that is not known")
    width: int | None = Field(description="in level-0 pixels")
    height: int | None = Field(description="in level-0 pixels")
    mpp_x: float | None = Field(description="microns per pixel; null where nothing says")
    mpp_y: float | None
    mpp_source: str | None = Field(description="where they come from; `none` where nothing says")
    vendor: str | None = Field(description="whose format it is, as OpenSlide calls it")
    levels: list[LevelView]
    iiif: str = Field(description="base of the IIIF Image API 3, level 1")
    associated: list[str] = Field(
        description="further pictures, as NAME.jpg; empty unless `services.page.labels` is on"
    )
    problem: Annotated[dict[str, Any] | None, ABSENT] = Field(
        None, description="why it cannot be seen"
    )


def slide_view(slide: ViewedSlide, *, shows_labels: bool) -> SlideView:
    """Return the slide as its caller sees it, without the place of its file."""
    view = SlideView(
        id=slide.id,
        state="fetching",
        progress=DoneView(done=slide.progress.done, total=slide.progress.total),
        name=slide.name,
        width=None,
        height=None,
        mpp_x=None,
        mpp_y=None,
        mpp_source=None,
        vendor=None,
        levels=[],
        iiif=f"{PREFIX}/{slide.id}/iiif",
        associated=[],
    )
    if slide.state == "failed":
        problem = stored_problem(slide.problem or {"code": "bug"})
        return view.model_copy(update={"state": "failed", "problem": problem})
    if slide.state == "ready":
        return view.model_copy(update=_of_ready(slide, shows_labels=shows_labels))
    return view


def facts_of(slide: ViewedSlide) -> SlideFacts:
    """Return what the viewer said of a slide that is ready, with the locator's resolution.

    The locator's counts where the slide itself says none, as for an order.
    """
    facts = SlideFacts.model_validate(slide.facts)
    if facts.mpp_x is not None or slide.mpp is None:
        return facts
    known = {"mpp_x": slide.mpp, "mpp_y": slide.mpp, "mpp_source": "locator"}
    return facts.model_copy(update=known)


def _of_ready(slide: ViewedSlide, *, shows_labels: bool) -> dict[str, Any]:
    facts = facts_of(slide)
    shown: dict[str, Any] = {
        "state": "ready",
        "progress": DoneView(done=facts.bytes, total=facts.bytes),
        "width": facts.width,
        "height": facts.height,
        "mpp_x": facts.mpp_x,
        "mpp_y": facts.mpp_y,
        "mpp_source": facts.mpp_source,
        "vendor": facts.vendor,
        "levels": list(facts.levels),
    }
    if shows_labels:
        shown["associated"] = list(facts.associated)
    return shown


class RootView(BaseModel):
    """A folder of the server that slides may be read from."""

    root: int
    name: str = Field(description="last part of its path")


class RootsView(BaseModel):
    """The folders of the server that slides may be read from."""

    roots: list[RootView]


class EntryView(BaseModel):
    """One entry of a folder. `slide` is told by the name; whether it is one, opening it shows."""

    name: str
    kind: Literal["folder", "slide", "other"]
    bytes: int | None = None
    modified_at: str | float | None = None


class FolderView(BaseModel):
    """At most 500 entries of a folder: folders first, then by name."""

    root: int
    path: str
    entries: list[EntryView] = Field(max_length=500)
    cursor: str | None = Field(None, description="`cursor` of the following page; null at the end")
