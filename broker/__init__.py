"""The tray: what desk and bench agree on — the order's shape and life, where it is kept, the queues, the settings.

Knows neither FastAPI nor torch, OpenSlide or numpy, and imports no other room.
"""
