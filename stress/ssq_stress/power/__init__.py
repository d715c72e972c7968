"""What is left of a queue when the power fails? Real losses, on a small ext4 file system of its own."""
