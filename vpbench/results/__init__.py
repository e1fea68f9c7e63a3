"""A result on disk: its records, its rows, its summary, and what can be concluded from them.

Rows of statistics come in and are published unit by unit. Summaries, intervals, comparisons and verdicts on a folder's
integrity go out. Nothing here needs a predictor or a dataset, so anyone can check a result that was sent to them.
"""
