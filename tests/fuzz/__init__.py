"""Requests that nobody would write, against a server that lives. `./scripts/fuzz` runs it for longer."""
