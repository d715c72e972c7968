"""The queues that come with the package as subjects, one module each with a factory `open_queue`."""
