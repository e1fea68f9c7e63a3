"""Pages for people: tables, leaderboards, strips of frames, pages of a continued video.

Finished results and predictions come in. Markdown, HTML and PNG files go out, and tables for the terminal. No page
computes a score: it arranges those of the results.
"""
