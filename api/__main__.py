"""The entry of the `dropzero` command, so that Ctrl-C ends with one line while its modules are still loading."""

import sys


def main() -> None:
    """Load the command and run it."""
    try:
        from api.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("dropzero: interrupted\n")
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
