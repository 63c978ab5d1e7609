"""The command line: a module for each group of commands, what they print, and the target they talk to.

Nothing here supervises; a command imports what it runs when it runs.
"""
