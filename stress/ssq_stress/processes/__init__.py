"""What a worker process has before it: its orders, its log, its handle on the queue."""
