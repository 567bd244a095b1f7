"""How much of a disk is left free for everything but slides."""

_RESERVED_BYTES = 10**9
_RESERVED_SHARE = 0.05
"""Of a disk on which `_RESERVED_BYTES` would be more than this share of it."""


def reserved_bytes(disk_bytes: int) -> int:
    """Return how many bytes of a disk of this size stay free; with fewer, no slide is fetched."""
    return int(min(_RESERVED_BYTES, _RESERVED_SHARE * disk_bytes))
