"""The command line: one module per group of commands, their tables, and the lookup of the supervisor they talk to.

Nothing here supervises. A command imports what it runs when it runs.
"""
