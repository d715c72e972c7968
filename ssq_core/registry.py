"""Which queue does a URL name? `open_queue` opens it."""
