"""The current state of the service, and the events that await a decision. Nothing here starts, stops or decides."""
