"""Starting and stopping what the engine runs, in order, until nothing of it is left."""
