"""`python -m tests.support.without_capabilities MODULE ARGUMENT…`: run a module as an ordinary user
would, also where root runs the tests. Root's capabilities would let it look into every process.
"""

import os
import sys

from worker import linux

if __name__ == "__main__":
    linux.drop_capabilities()
    linux.forbid_new_privileges()  # else root gets them back when it executes a program
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])  # noqa: S606
