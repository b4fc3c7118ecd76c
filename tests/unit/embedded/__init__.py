"""Tests of the room that keeps the embedded server."""
