"""How many files and connections this process may have open."""

import resource
from contextlib import suppress


def raise_limit() -> int:
    """Allow as many open files as the system grants, and return how many that is.

    The usual soft limit of 1,024 is soon reached on a large host.
    """
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft_limit
