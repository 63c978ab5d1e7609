"""HTTP servers: each runs an application on a listener; only this folder imports server libraries.

Every server initializes before it accepts, and after a stop answers every connection it has accepted. Other processes
share the listener: a server closes it, and never shuts it down.
"""
