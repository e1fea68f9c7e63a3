"""The command line: one file per command.

Words that a user types come in. Calls of the rooms below go out, and what they return is printed as lines, tables or
JSON. Only this room knows flags, prints, and turns an exception into one line and an exit code.
"""
