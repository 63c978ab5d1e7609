"""HTTP framework bindings: each turns a service into an application of one framework, and nothing more."""
