"""Train a predictor on the training clips of a protocol, and resume where an earlier process stopped.

A predictor's name, a protocol and a recipe come in. One file of weights goes out, with a log, a curve and checkpoints
in a folder of its own. Only this room imports Lightning.
"""
