"""The control socket: XML-RPC of our own and of supervisord, status and stats. Requests become events; no decisions."""
