"""`python -m benchmarks.upload_server FOLDER`: the API, and beside it a server that only writes.

Prints the two ports. It ends when its standard input does.
"""

import os
import sys
import threading
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings, Config
from services.app import create_app
from services.connection import BoundedConfig, ConnectionLimits


class PlainPut:
    """Writes the body of any request to one file as it comes, and flushes it to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        with self._path.open("wb", buffering=0) as file:
            more = True
            while more:
                message = await receive()
                file.write(message.get("body", b""))
                more = message.get("more_body", False)
            os.fsync(file.fileno())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve both until standard input ends."""
    folder = Path(sys.argv[1])
    # Nobody listens there: without API keys, uploads need no Redis.
    broker = BrokerSettings(data=folder, redis_url="redis://127.0.0.1:9/0")
    config = Config(broker=broker)
    app = create_app(config, OrderStore.connect(broker))
    limits = ConnectionLimits(connections=10)
    settings = (
        BoundedConfig(app, limits, port=0, log_config=None, lifespan="off"),
        uvicorn.Config(
            PlainPut(folder / "plain"), port=0, http="h11", log_config=None, lifespan="off"
        ),
    )
    for each in settings:
        server = uvicorn.Server(each)
        listening = each.bind_socket()
        threading.Thread(target=server.run, args=([listening],), daemon=True).start()
        print(listening.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
