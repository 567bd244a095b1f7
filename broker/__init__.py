"""What the API and the workers share: orders and their states, the record, the queues, settings.

Imports no other package of Slidelane, and neither FastAPI nor torch, OpenSlide or numpy.
"""
