"""Start a plugin: a file that works, or a package around it.

A kind and a name come in. The templates of this room are filled in with them. Files that are new go out: none replaces
one that exists.
"""
