"""Tools for authors of plugins: video and picture readers, warping, padding, weights files, label spaces.

Paths and arrays come in; arrays and checked records of files go out. Nothing here knows of protocols, runs or results.
The harness uses the same readers for a user's own videos.
"""
