"""The loop: observations become events, the policy decides, actions follow. Decisions are the policy's alone."""
