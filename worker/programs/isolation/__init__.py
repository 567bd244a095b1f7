"""Runs a program with a supervisor process of its own, apart from everything else.

The worker starts `python -m worker.programs.isolation`, the supervisor, for each run. It forks the
first process of the program's namespaces, which starts the program. Whatever happens to one of the
three, the program and all that it has started end: the supervisor when its connection to the worker
closes, the first process when the supervisor ends (PR_SET_PDEATHSIG), and with the first process of
a PID namespace the kernel ends all others in it.
"""
