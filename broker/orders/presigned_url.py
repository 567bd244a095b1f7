"""When a presigned URL stops working, read from the URL itself."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

_LONGEST_S = 10 * 366 * 86400
_EARLIEST_S, _LATEST_S = 1e9, 1e11  # what lies before 2001 is a duration, not a time


def url_dies_at(url: str) -> float | None:
    """Seconds since 1970 after which the URL is refused, or None where it does not say.

    AWS Signature 4 (`X-Amz-Date` + `X-Amz-Expires`) and Google's alike (`X-Goog-…`), AWS 2 and CloudFront (`Expires`,
    seconds since 1970), Azure SAS (`se`, ISO 8601). What cannot be read says nothing.
    """
    try:
        given = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
        dies_at = _signature_4(given) or _absolute(given) or _azure(given)
    except (ValueError, OverflowError):
        return None
    return dies_at if dies_at and _EARLIEST_S < dies_at < _LATEST_S else None


def _signature_4(given: dict[str, str]) -> float | None:
    for vendor in ("amz", "goog"):
        if {f"x-{vendor}-date", f"x-{vendor}-expires"} <= given.keys():
            signed = datetime.strptime(given[f"x-{vendor}-date"], "%Y%m%dT%H%M%SZ").replace(
                tzinfo=UTC
            )
            return signed.timestamp() + min(_LONGEST_S, int(given[f"x-{vendor}-expires"]))
    return None


def _absolute(given: dict[str, str]) -> float | None:
    signed = {"signature", "awsaccesskeyid", "googleaccessid", "key-pair-id"} & given.keys()
    return float(int(given["expires"])) if signed and "expires" in given else None


def _azure(given: dict[str, str]) -> float | None:
    if not {"se", "sig"} <= given.keys():
        return None
    when = datetime.fromisoformat(given["se"])
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
