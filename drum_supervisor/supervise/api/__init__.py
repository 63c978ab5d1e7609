"""What operators and tools ask over the control socket: XML-RPC, supervisord's own interface, status and stats."""
