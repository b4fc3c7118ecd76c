"""Tests of the log process, in parts."""
