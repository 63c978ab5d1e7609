"""The parent process: `drum-supervise start`, from the policy to the control socket.

Only `engine` and `api` may import `supervisor`. Nothing here imports what a child runs (`serve`, `runtime`, `servers`,
`fronts`, `services`, `model`), nor click.
"""
