"""What the commands of `ssq` do and show; `cli.py` says which there are."""
