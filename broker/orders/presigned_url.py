"""When a presigned URL stops working, read from the URL itself."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

_LONGEST_S = 10 * 366 * 86400
_EARLIEST_S = 1e9  # 2001; a smaller number is a duration, not a time
_LATEST_S = 1e11


def url_expires_at(url: str) -> float | None:
    """Return when the URL stops working (seconds since 1970), or None where it does not say.

    Known are AWS Signature 4 (`X-Amz-Date` + `X-Amz-Expires`) and Google's like it (`X-Goog-…`),
    AWS Signature 2 and CloudFront (`Expires`, seconds since 1970) and Azure SAS (`se`, ISO 8601).
    """
    try:
        query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
        expires_at = _signature_4(query) or _absolute(query) or _azure(query)
    except (ValueError, OverflowError):
        return None
    if expires_at is None or not _EARLIEST_S < expires_at < _LATEST_S:
        return None
    return expires_at


def _signature_4(query: dict[str, str]) -> float | None:
    for vendor in ("amz", "goog"):
        date = query.get(f"x-{vendor}-date")
        life_s = query.get(f"x-{vendor}-expires")
        if date is not None and life_s is not None:
            signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed.timestamp() + min(_LONGEST_S, int(life_s))
    return None


def _absolute(query: dict[str, str]) -> float | None:
    is_signed = {"signature", "awsaccesskeyid", "googleaccessid", "key-pair-id"} & query.keys()
    if not is_signed or "expires" not in query:
        return None
    return float(int(query["expires"]))


def _azure(query: dict[str, str]) -> float | None:
    if not {"se", "sig"} <= query.keys():
        return None
    expires = datetime.fromisoformat(query["se"])
    if expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return expires.timestamp()
