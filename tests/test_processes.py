"""The processes that tests start handle SIGINT, in whatever way the run of tests itself was started."""

import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE

IGNORING = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c")
"""Starts Python with SIGINT ignored, as a shell script does with every command that ends in `&`."""

CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"


def ignores_interrupts(program: str) -> bool:
    """Whether a process ignores SIGINT that `program` starts as CHILD."""
    root = Path(__file__).parent.parent
    prelude = f"import subprocess, sys\nfrom tests import processes\nCHILD = {CHILD!r}\n"
    command = [*IGNORING, prelude + program]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return run.stdout == "True\n"


def test_a_process_of_a_run_in_the_background_does_not_ignore_ctrl_c() -> None:
    start = "subprocess.run([sys.executable, '-c', CHILD], check=True)"
    assert ignores_interrupts(start)
    assert not ignores_interrupts(f"processes.handle_interrupts()\n{start}")
