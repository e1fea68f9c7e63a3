"""From a dataset to batches: read, crop, resize and annotate clips, once or many times.

A dataset and the protocol's clip references come in. Tensors of whole clips go out, each with a digest of its pixels.
Prepared stores, checks for leaks between splits and a user's own video are here, too.
"""
