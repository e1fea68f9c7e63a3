"""The contracts: what the author of a plugin must know.

Plugins come in through their hooks and become a registry of names. The data types that flow between the harness and its
plugins are defined here, with shapes, units and ranges. Calls into plugins are guarded, so that an exception names its
plugin.
"""
