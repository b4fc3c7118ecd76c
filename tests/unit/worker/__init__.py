"""The SDK's parts that need neither ZooKeeper nor a worker process."""
