"""Starting and stopping programs in order, orphans included. The policy decides; nothing here does."""
