"""Build the wheel, install it in an environment of its own away from the checkout, and buy one from it.

What a checkout has lying about, a wheel must carry: migrations, the storefront, GraphiQL's page. Prints the wheel's
name and ends with status 0; else with what was missing.
"""

# ruff: noqa: S101 - what fails here is to fail

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from urllib.request import Request, urlopen

CHECKOUT = Path(__file__).parent.parent
STOREFRONT = CHECKOUT / "api" / "storefront"
CARRIED = (
    "api/migrations/0001_products.sql",
    "api/graphql/graphiql.html",
    *(str(path.relative_to(CHECKOUT)) for path in STOREFRONT.rglob("*") if path.is_file()),
)
SAMPLE = "0d509e70-0000-4000-8000-000000000001"
BUY_ONE = f'mutation {{ purchase(input: {{ productId: "{SAMPLE}", userRef: "wheel" }}) {{ status }} }}'


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its good end, and return what it printed."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def build(work: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", work, CHECKOUT, cwd=work)
    [wheel] = work.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert set(CARRIED) <= set(names), sorted(set(CARRIED) - set(names))
    strangers = [name for name in names if not re.match(r"api/|dropzero-[^/]*\.dist-info/", name)]
    assert strangers == [], strangers
    return wheel


def install(wheel: Path, work: Path) -> Path:
    """The `dropzero` command of a fresh environment."""
    venv.create(work / "environment", with_pip=True)
    programs = work / "environment" / "bin"
    run(programs / "pip", "install", "--quiet", f"{wheel}[local]", cwd=work)
    return programs / "dropzero"


def fetch(url: str, accept: str, body: dict[str, str] | None = None) -> str:
    headers = {"accept": accept, "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers)) as response:  # noqa: S310
        text: str = response.read().decode()
        return text


def buy(dropzero: Path, work: Path) -> None:
    """Serve from the wheel, open both pages, and buy one of the sample drop."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DROPZERO_")}
    serve = [str(dropzero), "serve", "--port", "0"]
    with subprocess.Popen(serve, cwd=work, env=environment, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            assert server.stdout is not None
            announced = ""
            while "Regions" not in announced:
                line = server.stdout.readline()
                assert line, f"the server ended: {announced}"
                announced += line
            [url] = re.findall(r"Storefront +(http://\S+)/", announced)
            assert "DROPZERO" in fetch(f"{url}/", "text/html")
            assert SAMPLE in fetch(f"{url}/graphql", "text/html"), "GraphiQL's tabs"
            answer = json.loads(fetch(f"{url}/graphql", "application/json", {"query": BUY_ONE}))
            assert answer == {"data": {"purchase": {"status": "CONFIRMED"}}}, answer
        finally:
            server.terminate()
    assert server.returncode == 0, server.returncode


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dropzero-wheel-") as temporary:
        work = Path(temporary)
        wheel = build(work)
        dropzero = install(wheel, work)
        assert run(dropzero, "schema", cwd=work) == (CHECKOUT / "schema.graphql").read_text()
        buy(dropzero, work)
        sys.stdout.write(f"{wheel.name} sells\n")


if __name__ == "__main__":
    main()
