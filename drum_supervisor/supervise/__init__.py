"""The parent process: policy, programs, the supervisord engine, the loop between them, and control.

May import click-free parts of this package above `settings` only, and `supervisor` in `engine` and `control`
alone. Never imports anything that a child runs (`serve`, `runtime`, `fronts`, `services`, `model`).
"""
