"""The entry of the `dropzero` command, so that Ctrl-C ends with one line while its modules are still loading."""

import signal
import sys


def main() -> None:
    """Load the command and run it."""
    try:
        from api.cli import main as run
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end in a traceback
        sys.stderr.write("dropzero: interrupted\n")
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
