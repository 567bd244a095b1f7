"""Where Redis is: one URL for the hints (Celery's database) and one for the records (the database behind it)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from broker.config import BrokerSettings, ConfigError

URL_FILE = Path("redis") / "url"


def _database(path: str) -> int:
    text = path.strip("/")
    if text and not text.isdigit():
        raise ConfigError(f"broker.redis_url: the database must be a number, not {text[:32]!r}")
    return int(text or 0)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """One Redis, two databases: `hints_url` may be flushed and heals, `records_url` is the truth. Holds a password."""

    hints_url: str
    records_url: str

    @classmethod
    def of(cls, settings: BrokerSettings) -> Self:
        """The Redis of the settings. Raises `ConfigError` when it is ours and does not run."""
        url = settings.redis_url
        return cls.at(embedded_url(settings.data) if url == "embedded" else url)

    @classmethod
    def at(cls, url: str) -> Self:
        """The two databases behind one URL."""
        parts = urlsplit(url)
        database = _database(parts.path)
        return cls(*(urlunsplit(parts._replace(path=f"/{number}")) for number in (database, database + 1)))


def embedded_url(data: Path) -> str:
    """The address that our own Redis wrote down when it was started."""
    try:
        return (data / URL_FILE).read_text().strip()
    except FileNotFoundError:
        raise ConfigError(
            f"broker.redis_url is `embedded`, but none was started for {data}; run `make serve`, or name a Redis by URL"
        ) from None
