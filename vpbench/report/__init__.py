"""The report: a static site that shows who is better, by how much, from which step on, where and on which clips.

Checked results and tables of papers come in. One folder of HTML pages goes out, which opens from disk without a server
or a network. No page computes a score: the pages arrange those of the results.
"""
