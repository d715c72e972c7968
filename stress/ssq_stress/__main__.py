"""`ssq`, from its first line on: who interrupts it while it is being loaded is told so in a line, too."""

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Load the command, and run it."""
    try:
        from ssq_stress.cli import main as run  # noqa: PLC0415 - its loading is what may be interrupted
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("ssq: interrupted; nothing was begun\n")
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
