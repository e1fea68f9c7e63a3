"""Protocols as data: which clips, which pixels, which steps."""
