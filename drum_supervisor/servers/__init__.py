"""HTTP servers: each module runs an application on a listener, and is the only one that imports its server library.

All of them initialize first and accept second, and after a stop they answer every connection that was accepted. The
listener is shared with other processes: it is closed, never shut down.
"""
