"""Submissions: pack a result for the leaderboards, and check what others submit.

A finished result and the statements of its authors come in. A bundle goes out: a folder with the same bytes each time,
without names of machines. Reviewers and the workflow of pull requests check bundles here, and nothing in one is run.
"""
