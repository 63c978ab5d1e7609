"""Framework bindings: each turns a service into an application of one framework.

Only its front imports a framework. Responses are made in `services/`, connections belong to `servers/`.
"""
