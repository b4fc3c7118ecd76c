"""Keeps N workers alive, whatever dies."""
