"""What the supervisor knows of its service at this moment, and the events that the policy has not decided on yet.

Nothing here starts, stops or decides.
"""
