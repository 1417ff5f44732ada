"""Where the server's processor time goes: microseconds in each layer, for four operations.

    python -m bench.profile                     this checkout, about a minute
    python -m bench.profile --server FOLDER     the code of another checkout
    python -m bench.profile --functions         also the functions that take most

py-spy (`pip install py-spy`) samples the stacks of a running server, with the frames of its C extensions. The shares of
the layers are those of the samples. The time of a request is measured without py-spy, which makes a server slower.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import wrk
from bench.layers import LAYERS, shares
from bench.operations import PAGE, PRODUCT, Operation, send
from bench.products import new_product, new_products
from bench.report import print_table
from bench.servers import Process
from bench.version import ROOT, code_folder, prepared

CLIENTS = 200
SECONDS = 4
SAMPLED_SECONDS = 8
SAMPLES_PER_SECOND = 200
FUNCTIONS = 25


@dataclass(frozen=True)
class Load:
    """An operation, and what sends it for some seconds. `send` returns the requests that were answered."""

    name: str
    send: Callable[[int], int]


def loads(server: Process, folder: Path) -> list[Load]:
    product_id = new_product(server)
    new_products(server, 100)

    def fixed(operation: Operation) -> Load:
        return Load(operation.name, lambda seconds: send(server, operation, CLIENTS, seconds).requests)

    def purchases(seconds: int) -> int:
        return wrk.purchases(server, product_id, CLIENTS, seconds, folder).confirmed

    return [
        fixed(Operation("nothing", "{ __typename }")),
        fixed(Operation("one product", PRODUCT, {"id": product_id})),
        Load("a purchase", purchases),
        fixed(Operation("100 products", PAGE)),
    ]


def measure(server: Process, load: Load) -> float:
    """The server's microseconds for a request."""
    load.send(1)
    cpu = server.cpu_seconds()
    answered = load.send(SECONDS)
    return (server.cpu_seconds() - cpu) / max(1, answered) * 1e6


def sample(server: Process, load: Load, file: Path) -> list[str]:
    """The stacks of the server under the load, in py-spy's raw format."""
    command = ["py-spy", "record", "--native", "--full-filenames", "--format", "raw", "--output", str(file)]
    arguments = ["--pid", str(server.pid), "--rate", str(SAMPLES_PER_SECOND), "--duration", str(SAMPLED_SECONDS)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as spy:
        load.send(SAMPLED_SECONDS + 1)
        _, errors = spy.communicate(timeout=SAMPLED_SECONDS * 10)
    if spy.returncode:
        raise SystemExit(f"py-spy cannot sample the server: {errors.decode().strip()}")
    return file.read_text(encoding="utf-8").splitlines()


def run(code: Path, functions: bool) -> list[dict[str, Any]]:
    """A row for each layer, and one for the whole time of a request."""
    columns: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        prepared(code, Path(folder) / "data") as measured,
        measured.server("-m", "api") as server,
    ):
        for load in loads(server, Path(folder)):
            microseconds = measure(server, load)
            stacks = sample(server, load, Path(folder) / "stacks")
            columns[load.name] = {layer: share * microseconds for layer, share in shares(stacks).items()}
            columns[load.name]["in all"] = microseconds
            if functions:
                print_table(f"{load.name}: functions", most(stacks, microseconds))
    return [
        {"layer": layer} | {f"{name}, us": column[layer] for name, column in columns.items()}
        for layer in (*LAYERS, "in all")
    ]


def most(stacks: Sequence[str], microseconds: float) -> list[dict[str, Any]]:
    """The functions of Python that take most of a request, with the C code that they call, without other functions."""
    counts: Counter[str] = Counter()
    for stack in stacks:
        frames, _, samples = stack.rpartition(" ")
        innermost = next((frame for frame in reversed(frames.split(";")) if ".py:" in frame), "none")
        counts[_without_line(innermost)] += int(samples)
    return [
        {"function": function, "us": samples / counts.total() * microseconds}
        for function, samples in counts.most_common(FUNCTIONS)
    ]


def _without_line(frame: str) -> str:
    """`Gate.enter (identity/gate.py)` of a frame."""
    function, _, where = frame.rpartition(" (")
    return f"{function} ({'/'.join(where.partition(':')[0].split('/')[-2:])})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=code_folder, default=ROOT, help="a folder with the code of the server")
    parser.add_argument("--functions", action="store_true", help="also print the functions that take most")
    asked = parser.parse_args()
    if shutil.which("py-spy") is None:
        parser.error("py-spy was not found: pip install py-spy")
    print_table("Processor time of a request", run(asked.server, asked.functions))


if __name__ == "__main__":
    main()
