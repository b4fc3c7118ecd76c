"""ZooKeeper as the daemon sees it; the only place that knows kazoo."""
