"""The shell around the decider: one task that owns the view, and the ports it acts through."""
