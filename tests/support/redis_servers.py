"""Redis servers for tests: behind TLS, with a replica; and a process that enqueues messages."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.order_store.embedded_redis import find_server
from tests.support.paths import ROOT

ONCE = Retry(NoBackoff(), 0)
"""For a client that finds out whether a server accepts it. By itself it would try again for
several seconds, also where its password was refused."""
_ENQUEUE = """
import logging, sys, time
from concurrent.futures import ThreadPoolExecutor
logging.basicConfig(stream=sys.stderr)
from broker.queue.celery_app import enqueue
from broker.order_store import TaskMessage
for line in sys.stdin:
    threads, *works = line.split()
    began = time.monotonic()
    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(lambda _: enqueue([TaskMessage("fetch", work, "fetch") for work in works]), range(int(threads))))
    print(time.monotonic() - began, flush=True)
"""


def wait_for(condition: Callable[[], Any], within_s: float = 30) -> Any:
    """Return the first truthy result of `condition`."""
    tick, deadline = threading.Event(), time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it never came true"
        tick.wait(0.05)
    return answer


def answers(client: Any) -> bool:
    """Return whether this server answers."""
    with suppress(redis.RedisError):
        return bool(client.ping())
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EnqueueProcess:
    """Another process that enqueues: Celery's app belongs to one process and one Redis."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ENQUEUE],
            cwd=ROOT,
            env=os.environ | {"SLIDELANE_BROKER__REDIS_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def enqueue(self, *works: str, threads: int = 1) -> float:
        """Enqueue these from several threads at once; return how long that took, in seconds."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join([str(threads), *works]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def server(
    folder: Path, lines: str, *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server with these lines of configuration; yields its process and its port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "redis.conf"
    conf.write_text(f"bind 127.0.0.1\nport {port}\ndir {folder}\nlogfile {folder}/log\n{lines}")
    process = subprocess.Popen([find_server(), conf, *options], stdout=subprocess.DEVNULL)
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key; returns both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


@contextmanager
def tls_before(port: int, pem: Path, key: Path) -> Iterator[int]:
    """Yield a port that speaks TLS and passes everything on to `port`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                open_sockets.append(plain)
                try:
                    encrypted = context.wrap_socket(plain, server_side=True)
                except OSError:
                    continue
                plain_end = socket.create_connection(("127.0.0.1", port))
                open_sockets.extend((encrypted, plain_end))
                for ends in ((encrypted, plain_end), (plain_end, encrypted)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for each in (listener, *open_sockets):
            each.close()
