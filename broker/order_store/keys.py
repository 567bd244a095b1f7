"""The names of all Redis keys of the record, stated once for Python and for the Lua scripts."""

from enum import StrEnum


class Key(StrEnum):
    """A key, or, where the name ends with a colon, the first part of one."""

    ORDER = "sl:order:"  # + order id; hash: the order
    SCAN = "sl:scan:"  # + order id, dot, scan number; hash: the scan
    ATTEMPTS = "sl:attempts:"  # + order id; list: the delivery attempts
    LOG = "sl:log:"  # + order id; list: what happened to the order
    ORDERS = "sl:orders"  # sorted set: all order ids, by order number
    ORDERS_BY_STATE = "sl:orders:state:"  # + state; sorted set: its order ids, by number
    ORDERS_BY_ALGORITHM = "sl:orders:algorithm:"  # + name; sorted set: its order ids, by number
    ORDERS_BY_LABEL = "sl:orders:label:"  # + name, "=", value; sorted set: order ids, by number
    ORDERS_BY_CREATOR = "sl:orders:creator:"  # + API key; sorted set: its order ids, by number
    QUEUED_BY_CREATOR = "sl:queued:"  # + name of an API key; set: its orders that are queued
    ORDER_NUMBER = "sl:number"  # integer: the number of the newest order
    ENDED = "sl:ended"  # sorted set: orders that have ended, by the time of the end in ms
    DELETED = "sl:deleted"  # sorted set: deleted orders whose files may be left, by time in ms
    NOTICES = "sl:notices"  # sorted set: order id, blank, event of a webhook; by time of the call
    GONE = "sl:gone:"  # + SHA-256 of a URL; string with a time to live: a webhook answered 410
    DUE = "sl:due"  # sorted set: work and orders, by the time of the next check in ms
    QUEUES = "sl:queues"  # set: the names of all queues that were ever used
    WAITING = "sl:waiting:"  # + queue; sorted set: waiting work, by the time it may start in ms
    HELD = "sl:held:"  # + worker; set: the work that the worker holds
    CHANGES = "sl:changes"  # stream: the last changes of all orders, for those who follow them
    SESSION = "sl:session:"  # + SHA-256 of a token; string with a time to live: who logged in
    IDEMPOTENCY = "sl:key:"  # + Idempotency-Key; hash: its order and the request's fingerprint
    KUE_JOB = "sl:kue:job:"  # + number; hash: what a client of Kue sent, and its state
    KUE_NUMBER = "sl:kue:number"  # integer: the number of the newest job of Kue
    KUE_JOBS = "sl:kue:jobs"  # sorted set: all jobs of Kue, by priority
    KUE_JOBS_BY_STATE = "sl:kue:jobs:state:"  # + state; sorted set: its jobs, as Kue sorts them
    KUE_JOBS_BY_TYPE = "sl:kue:jobs:type:"  # + state, ":", type; sorted set: jobs, by priority
    KUE_TYPES = "sl:kue:types"  # set: the types of jobs that were ever sent
    KUE_REFUSED = "sl:kue:refused"  # sorted set: jobs that are no orders, by time in ms
    KUE_WORK_TIME = "sl:kue:work_time"  # integer: what all complete jobs took, in ms
    KUE_EVENTS = "sl:kue:events"  # stream: what listeners of Kue are still to be told
    KUE_PUBLISHED = "sl:kue:published"  # string: id of the last event that was published
    KUE_PUBLISHER = "sl:kue:publisher"  # string with a time to live: who publishes events
    SLIDE = "sl:slide:"  # + id; hash with a time to live: a slide that somebody looks at
    SLIDES_BY_CREATOR = "sl:slides:creator:"  # + API key; sorted set: its slides, by time in ms
    SLIDES_DUE = "sl:slides:due"  # sorted set: slides that are fetched, by the next check in ms
    SLIDES_KEY = "sl:slides:key"  # string: signs links to slides where no secret key is set
    WATCHERS = "sl:watchers:"  # + folder; string with a time to live: the courier that looks at it
    WATCH_SEEN = "sl:watch:seen:"  # + folder; hash: what each path in it was when it was taken
    WATCH_GONE = "sl:watch:gone:"  # + folder; sorted set: paths that are away, by time in ms
    WATCH_REFUSED = "sl:watch:refused:"  # + folder; hash: path, why its order was refused, as JSON
    WATCH_LOOKS = "sl:watch:looks"  # hash: folder, what the last look at it saw, as JSON
    ARRIVALS = "sl:arrivals"  # sorted set: slides that wait for their policy, by time in ms
    ARRIVAL = "sl:arrival:"  # + folder, colon, digest of path and state; string: the slide as JSON
    CARDS = "sl:cards"  # hash: the card of each algorithm, as JSON
    TEXTS = "sl:texts"  # hash: algorithm, slash, file; what its authors wrote about it
    HOSTING = "sl:hosting"  # hash: what each machine announced of images and classes, as JSON
    WORKERS = "sl:workers"  # sorted set: names of workers, by their last heartbeat in ms
    WORKER = "sl:worker:"  # + worker; string with a time to live: its queues, as JSON


PAYLOAD_FIELD = "parcel"
"""The field of the stored payload in the record of an order; it is older than the word payload."""


def lua_constants() -> str:
    """Return a line of Lua for each key that defines it as a local: `KEY_DUE`, `KEY_QUEUES`, …"""
    return "".join(f"local KEY_{key.name} = '{key.value}'\n" for key in Key)
