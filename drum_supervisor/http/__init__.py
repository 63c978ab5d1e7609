"""HTTP/1.1 without a framework: messages, parsing, encoding, bodies and deadlines.

Not here: what to answer (`services/`) and accepting connections (`servers/`).
"""
