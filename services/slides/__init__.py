"""Slides that people look at before they order, and the pass-on of their pixels.

The viewer process reads them; the API decides who may, and speaks with it over kept connections.
"""
