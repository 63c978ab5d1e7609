"""A threaded WSGI server whose connections survive a swap: accept, read, answer, and stop without losing a request."""
