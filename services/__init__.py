"""The HTTP API: takes orders, stores them and shows their state and results.

Imports `broker` only; must not import torch, OpenSlide or numpy.
"""
