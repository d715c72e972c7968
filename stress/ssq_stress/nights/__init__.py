"""Stress for a night: watches in turn, what is kept of them, and what stands there in the morning."""
