"""Real processes, and the command line."""
