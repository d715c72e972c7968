"""How fast is a queue? Real processes, timed; the same run is judged by the invariants."""
