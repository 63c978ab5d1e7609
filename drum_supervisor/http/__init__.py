"""HTTP/1.1 without a framework: messages, parsing, encoding, bodies and deadlines.

What is answered is the business of `services/`; who accepts connections that of `servers/`.
"""
