"""From names to objects: what a user names becomes a predictor, dataset, annotator or metric that is ready to run.

Names, presets, options and weights files come in. Built objects go out, each with its option values and a fingerprint
of its code and weights. Checkpoints of other programs are converted here.
"""
