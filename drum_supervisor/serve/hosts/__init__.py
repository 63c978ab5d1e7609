"""HTTP servers: each module runs an application on a listener with one of them, and is the only one to import it.

All do the same: initialize first, accept second, and after a stop answer every connection that was accepted, also one
whose request has not arrived yet. The listener is shared with other processes: it is closed, never shut down.
"""
