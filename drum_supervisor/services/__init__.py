"""Services: each takes a `Request` and returns a `Response`. No framework, no server, no sockets here."""
