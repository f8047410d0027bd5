"""Clients that are slow on purpose, and what an honest one beside them notices: scripts/slowhttp."""
