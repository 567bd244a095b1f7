"""Opens the slides that people want to look at, and finds them again for those who may.

A slide on disk is opened at once. Any other is fetched first, by a courier; the viewer opens it
when somebody asks for it after that.
"""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.viewed_slides import NewSlide, ViewedSlide
from broker.orders.fields import PRIORITIES, Priority
from broker.orders.source import SlideSource, Source, UploadSource
from broker.queue.celery_app import enqueue_slides
from broker.settings.config import Config
from broker.uploads import Uploads
from services.auth import Caller
from services.requests.admission import check_source
from services.slides.disk import path_on_disk
from services.slides.images import SlideFile
from services.slides.requested_slide import shown_name
from services.slides.viewer_process.client import ViewerClient, unavailable
from services.slides.viewer_process.http_connection import BadAnswerError
from services.slides.views import SlideFacts

FIELD = "source"


@dataclass(frozen=True, slots=True)
class Looking:
    """Looks at slides for one caller."""

    config: Config
    store: OrderStore
    viewer: ViewerClient
    caller: Caller

    async def look(self, source: Source) -> ViewedSlide:
        """Store a slide to look at and return it: `ready`, or `fetching` where it is not here yet.

        Raise `OrderError` for a source that is refused, `TemporaryError`.
        """
        if isinstance(source, SlideSource):
            return await self.find(source.slide)
        path = await run_in_threadpool(self._checked_path, source)
        new = NewSlide(self.caller.name, source, shown_name(source), priority=self._priority())
        if self.caller.max_waiting is not None:
            new = replace(new, most_fetching=self.caller.max_waiting)
        if path is not None:
            try:
                facts = await open_slide(self.viewer, path)
            except OrderError as error:
                raise _at_source(error, source) from None
            new = replace(new, path=path, facts=facts.model_dump(mode="json"))
            if not new.name:
                new = replace(new, name=PurePosixPath(path).name)
        return await run_in_threadpool(self._store_and_enqueue, new)

    async def find(self, slide_id: str) -> ViewedSlide:
        """Return a slide of this caller, opened by the viewer if it was fetched meanwhile.

        Raise `OrderError("not_found")`, also for the slide of another caller where this one sees
        only its own; `TemporaryError`.
        """
        slide = await run_in_threadpool(self.own, slide_id)
        if slide.state != "fetched":
            return slide
        slides = self.store.viewed_slides
        try:
            facts = await open_slide(self.viewer, slide.path, slide.digest)
        except OrderError as error:
            await run_in_threadpool(slides.failed, slide, error.problem)
            return replace(slide, state="failed", problem=error.problem.as_dict())
        known = facts.model_dump(mode="json")
        await run_in_threadpool(slides.opened, slide, known)
        return replace(slide, state="ready", facts=known)

    def own(self, slide_id: str) -> ViewedSlide:
        """Return a slide of this caller as it is stored. Raise as `find` does."""
        return own_slide(self.store, slide_id, self.caller)

    def _checked_path(self, source: Source) -> str | None:
        """Return where the slide is on this disk, None to fetch it. Raise `OrderError`."""
        check_source(source, FIELD, self.config)
        if isinstance(source, UploadSource):
            try:
                uploads = Uploads(self.config.broker.uploads_folder)
                uploads.require_whole(source.upload, self.caller.name)
            except OrderError as error:
                raise _at_source(error, source) from None
        return path_on_disk(source, self.config)

    def _store_and_enqueue(self, new: NewSlide) -> ViewedSlide:
        slide, message = self.store.viewed_slides.create(new)
        if message is not None:
            enqueue_slides([message])
        return slide

    def _priority(self) -> Priority:
        """Return `high`, for a person waits, or the highest that this caller may order."""
        return min("high", self.caller.max_priority, key=PRIORITIES.index)


def own_slide(store: OrderStore, slide_id: str, caller: Caller) -> ViewedSlide:
    """Return a slide that this caller may see, as it is stored.

    Raise `OrderError("not_found")`, also for that of another caller where this one sees only its
    own.
    """
    slide = store.viewed_slides.use(slide_id)
    if caller.own_orders_only and slide.created_by != caller.name:
        raise OrderError(
            "not_found",
            f"there is no slide {slide_id[:64]!r} of the key {caller.name!r}",
            hint="look at the slide with POST /v1/slides",
        )
    return slide


async def open_slide(viewer: ViewerClient, path: str, digest: str = "") -> SlideFacts:
    """Return what the viewer says of the slide at `path` on its disk.

    With a `digest` the slide must be that one. Raise `OrderError` for what is no slide,
    `TemporaryError`.
    """
    document = await viewer.get_json("/slide", path, digest=digest)
    try:
        return SlideFacts.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(str(one["loc"][0]) for one in error.errors(include_input=False)[:3])
        raise unavailable(BadAnswerError(f"wrong fields of a slide: {fields}")) from None


def shown_file(slide: ViewedSlide) -> SlideFile:
    """Return where the viewer finds a slide, and which one it was. Raise `OrderError`."""
    if slide.state == "failed" and slide.problem:
        raise OrderError(
            slide.problem["code"],
            slide.problem["detail"],
            hint=slide.problem.get("hint", ""),
        )
    if slide.state == "fetching":
        raise OrderError(
            "not_ready",
            "the slide is being fetched",
            hint=f"GET /v1/slides/{slide.id} says how far it is",
        )
    return SlideFile(slide.path, slide.digest)


def _at_source(error: OrderError, source: Source) -> OrderError:
    """Return the error with the field of the source that names the slide."""
    return OrderError(error.code, error.detail, hint=error.hint, field=f"{FIELD}.{source.type}")
