"""Protocols as data: which clips, which pixels, which steps.

TOML files and a dataset's list of sequences come in. A manifest of clips in units of work goes out, and the pixel
operations that bring raw frames to the protocol's size. Everything is a pure function of its input.
"""
