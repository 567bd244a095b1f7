"""A slide whose reader looks for its other files under names in another Unicode form.

A reader opens exactly the name that it expects: the folder of an `.mrxs`, the JPEGs that an index
of Hamamatsu names. Where a copy between systems has encoded the letters otherwise, a folder in the
slide cache holds a copy of the small main file, and links with the expected names.
"""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.errors import NotASlideError
from worker.sources.companion_files import expected_names, list_companions

_MOST_BYTES: Final = 64 * 2**20  # of the main file: a small picture, or an index


def with_expected_names(slide: LocalSlide, cache: SlideCache, pins: ExitStack) -> LocalSlide:
    """Return the slide so that its reader finds all of its files, pinned until `pins` closes.

    It is `slide` itself where that is so already. Raises `NotASlideError` where two files have the
    letters of one name, `SlideCacheFullError`.
    """
    main = slide.path
    names = expected_names(main)
    if not names:
        return slide
    main_bytes = main.stat().st_size
    if main_bytes > _MOST_BYTES:
        raise NotASlideError(
            f"{main.name!r} has {main_bytes} bytes; at most {_MOST_BYTES} belong to such a slide"
        )
    with cache.file_set() as file_set:
        file_set.reserve(main_bytes)
        shutil.copyfile(main, file_set.folder / main.name)
        for file in list_companions(main):
            if file.parent == main.parent:
                (file_set.folder / file.name).symlink_to(file)
        for name, path in names.items():
            (file_set.folder / name).symlink_to(path)
        digest = slide.digest.removeprefix("stat:")
        linked = pins.enter_context(cache.put_file_set(file_set, main.name, digest))
    return replace(slide, path=linked.path)
