"""Examples of what people follow the service with: sessions, events, the system at a glance."""

from typing import Any

from services.examples import QUEUES

SESSION: dict[str, Any] = {
    "name": "ward 7",
    "scopes": ["order", "read"],
    "version": "0.1.0",
    "flower": "https://flower.hospital.example",
    "needs_key": True,
}

EVENTS = """id: 1795938465321-0
retry: 2000

id: 1795938466909-0
event: order
data: {"order":"2ee1f3898e91fee4ede9d4c1","state":"running"}

id: 1795938466909-1
event: log
data: {"order":"2ee1f3898e91fee4ede9d4c1","line":"2026-11-29T07:47:46.909Z running"}

"""

SYSTEM: dict[str, Any] = {
    "version": "0.1.0",
    "cpu": {"cores": 16, "load_1m": 3.2},
    "memory": {"bytes": 67_000_000_000, "free_bytes": 41_000_000_000},
    "disk": [{"folder": "data", "bytes": 2_000_000_000_000, "free_bytes": 1_200_000_000_000}],
    "gpus": [
        {
            "name": "NVIDIA L40S",
            "memory_bytes": 48_305_799_168,
            "memory_free_bytes": 47_500_000_000,
            "workers": ["gpu@lab-1.4711"],
        }
    ],
    "redis": {"name": "redis 7.2.5", "durable": True, "evicts": False},
    "workers": [
        {
            "name": "gpu@lab-1.4711",
            "queues": ["gpu"],
            "seen_s_ago": 1.4,
            "offered": ["ki67"],
            "checking": [],
            "unavailable": {},
            "machine": {"cores": 16, "load_1m": 3.2, "gpus": []},
        }
    ],
    "queues": QUEUES["queues"],
    "algorithms": [
        {
            "name": "ki67",
            "title": "Ki-67",
            "version": "1",
            "queue": "gpu",
            "available": True,
            "workers": ["gpu@lab-1.4711"],
        }
    ],
    "checks": [
        {
            "what": "redis",
            "state": "ok",
            "message": "valkey 9.1.2, append-only file, answers in 0.4 ms",
        },
        {"what": "workers", "state": "absent", "message": "nobody consumes fetch"},
    ],
    "links": {"docs": "/docs", "openapi": "/openapi.json", "metrics": "/metrics"},
}
