"""`python -m worker.programs.engines.network_holder HOST:PORT…`: makes a network for a container.

Standard input is a socket to the worker. It gets sockets that listen in the network, and the id of
this process, which holds the network until the worker closes its socket. Instead of the id it gets
the reason why there is none.
"""

import os
import socket
import sys

from worker.programs.isolation.namespaces import RefusedError, enter_network_namespace


def main() -> None:
    """Make the network, and hold it."""
    control = socket.socket(fileno=os.dup(0))
    addresses = []
    for word in sys.argv[1:]:
        host, _, port = word.rpartition(":")
        addresses.append((host, int(port)))
    try:
        listeners = enter_network_namespace(addresses)
    except RefusedError as error:
        control.sendall(str(error).encode())
        return
    descriptors = [listener.fileno() for listener in listeners]
    socket.send_fds(control, [str(os.getpid()).encode()], descriptors)
    for listener in listeners:
        listener.close()
    control.recv(1)


if __name__ == "__main__":
    main()
