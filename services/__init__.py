"""The front desk: a request becomes an order, an order becomes an answer. Does no work itself.

Imports `broker` only; knows neither torch nor OpenSlide nor numpy.
"""
