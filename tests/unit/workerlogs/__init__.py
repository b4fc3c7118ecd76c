"""Tests of what reads workers' output, in parts."""
