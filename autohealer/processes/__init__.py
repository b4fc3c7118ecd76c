"""Linux processes: launch, watch by pidfd, prove identity, end whole trees, keep their output."""
