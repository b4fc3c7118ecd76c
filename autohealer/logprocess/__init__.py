"""The log process: takes what the workers of one group write out of their pipes and puts it where it is to go.

A program of its own, one for a group, so that it outlives the daemon as the workers do. `layout` is what it has in
common with the daemon; the rest is its own.
"""
