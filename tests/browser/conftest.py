"""The page in a real Chromium, over a real API and a real viewer of slides.

Workers are left out: tests bring orders to their states by the record, as a worker would.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import BrokerSettings, load
from tests.support.browser import Site, WatchedPage, running_api
from tests.support.page_service import PageService, page_service
from tests.support.slides import a_picture, a_slide
from tests.support.stack import free_port
from tests.support.viewer import running_viewer
from worker.algorithms.builtin.cards import grid_card, ki67_card

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
KEY = "a-key-of-the-tests"
DESTINATIONS = {
    "loader": {"type": "annotation", "url": "http://127.0.0.1:9/loader"},
    "hook": {
        "type": "webhook",
        "url": "http://127.0.0.1:9/hook",
        "secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    },
}
WIDTH, HEIGHT = 1024, 768
EXPECTED_WITHIN_MS = 20_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one file."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    # Five seconds, as it has by itself, are few on a machine that runs other tests as well.
    expect.set_options(timeout=EXPECTED_WITHIN_MS)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one slide, whose name could be that of a patient, and one below a folder."""
    folder = tmp_path_factory.mktemp("slides")
    (folder / "ward 7").mkdir()
    a_slide(folder / "Canary Smith.svs", a_picture(WIDTH, HEIGHT))
    a_slide(folder / "ward 7" / "no-scale.svs", a_picture(WIDTH, HEIGHT, seed=2), mpp=None)
    return folder


@contextmanager
def running(redis_url: str, data: Path, slides: Path, **services: Any) -> Iterator[Site]:
    """Run a site on an empty record. `services`: its settings of the API."""
    RedisClient(RedisUrl.at(redis_url)).records.flushall()
    broker = BrokerSettings(redis_url=redis_url, data=data, allow_hosts=("127.0.0.1",))
    config = load(
        broker=broker.model_dump(),
        services={"port": free_port(), "destinations": DESTINATIONS, **services},
        worker={"slides": {"roots": [str(slides)]}},
    )
    store = OrderStore.connect(broker)
    store.announce([ki67_card(), grid_card()])
    with pytest.MonkeyPatch.context() as environment:
        # Celery finds its Redis there, as in a deployed service.
        environment.setenv("SLIDELANE_BROKER__REDIS_URL", redis_url)
        with running_viewer(config), running_api(config, store) as url:
            uploads = config.broker.uploads_folder
            yield Site(url, store, open_storage(config.broker), slides, uploads)


@pytest.fixture(scope="module")
def site(redis_url: str, tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Iterator[Site]:
    """A site without keys, as on the machine of one person; one for the tests of a file."""
    with running(redis_url, tmp_path_factory.mktemp("data"), slides) as site:
        yield site


@pytest.fixture
def keyed_site(redis_url: str, tmp_path: Path, slides: Path) -> Iterator[Site]:
    """A site with one key, `KEY`. Its record is empty, also that of `site`."""
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    key = {"name": "lab", "sha256": sha256, "scopes": ["order", "read"]}
    with running(redis_url, tmp_path, slides, keys=[key]) as site:
        yield site


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """The whole service with workers, as `slidelane serve` runs it; one for all files."""
    with page_service(tmp_path_factory.mktemp("served")) as service:
        yield service


@pytest.fixture
def watch(chromium: Browser) -> Iterator[Callable[..., WatchedPage]]:
    """Open a page of a site that is watched: the test fails on whatever must not happen on it."""
    watched = []

    def opened(site: Site | PageService, **options: Any) -> WatchedPage:
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, **options)
        context.set_default_timeout(30_000)
        page = WatchedPage(context.new_page(), site.url)
        watched.append(page)
        return page

    yield opened
    for page in watched:
        page.page.context.close()
        assert page.faults == []
