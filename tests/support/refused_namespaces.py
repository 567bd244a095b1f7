"""`python -m tests.support.refused_namespaces KINDS MODULE ARGUMENT…`: run a module as an ordinary
user to whom the kernel refuses some kinds of namespaces, such as `net` or `user,pid`.

The numbers of namespaces are limited in a user namespace of our own, so the machine stays as it is.
"""

import os
import sys
from pathlib import Path

from worker import linux

USER_ID = 1000

if __name__ == "__main__":
    kinds = [kind for kind in sys.argv[1].split(",") if kind]
    user_id = os.geteuid()
    group_id = os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{USER_ID} {user_id} 1")
    Path("/proc/self/gid_map").write_text(f"{USER_ID} {group_id} 1")
    for kind in kinds:
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")
    # Executing a program takes the capabilities from every user but root.
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])  # noqa: S606
