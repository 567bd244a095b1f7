"""Takes from a decoder process what decoding does not need."""

import resource
import signal
import sys

from worker import linux


def confine(max_bytes: int, parent_id: int) -> None:
    """Let this process write no files, take at most `max_bytes`, and end with its parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's tissue
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit counts reserved memory, or has no effect
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
        linux.end_with_parent(parent_id, signal.SIGKILL)
