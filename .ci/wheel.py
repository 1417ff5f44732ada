"""Build the wheel, install it in an environment of its own away from the checkout, and buy one from it.

What a checkout has lying about, a wheel must carry: migrations, the storefront, GraphiQL's page. Prints the wheel's
name and ends with status 0; else with what was missing.
"""

# ruff: noqa: S101 - what fails here is to fail

import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
SMOKE = Path(__file__).with_name("smoke.py")
STOREFRONT = CHECKOUT / "api" / "storefront"
CARRIED = (
    "api/migrations/0001_products.sql",
    "api/graphql/graphiql.html",
    *(str(path.relative_to(CHECKOUT)) for path in STOREFRONT.rglob("*.*") if path.suffix != ".pyc"),
)
LONGEST = 1_800.0
"""Seconds for one command. Longer than smoke.py waits in all: a smoke.py that is killed leaves its server behind."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its good end, and return what it printed."""
    return subprocess.run(  # noqa: S603
        command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True, timeout=LONGEST
    ).stdout


def build(work: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", work, CHECKOUT, cwd=work)
    [wheel] = work.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert set(CARRIED) <= set(names), sorted(set(CARRIED) - set(names))
    assert any(re.fullmatch(r"dropzero-[^/]*\.dist-info/licenses/LICENSE", name) for name in names), names
    strangers = [name for name in names if not re.match(r"api/|dropzero-[^/]*\.dist-info/", name)]
    assert strangers == [], strangers
    return wheel


def install(wheel: Path, work: Path) -> Path:
    """The programs of a fresh environment with the wheel in it."""
    programs = work / "environment" / "bin"
    venv.create(programs.parent)
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    run(*pip, "install", "--quiet", f"{wheel}[local]", cwd=work)
    return programs


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dropzero-wheel-") as temporary:
        work = Path(temporary)
        wheel = build(work)
        programs = install(wheel, work)
        assert run(programs / "dropzero", "schema", cwd=work) == (CHECKOUT / "schema.graphql").read_text()
        used = run(programs / "python", SMOKE, cwd=work)
        sys.stdout.write(f"{wheel.name} {used}")


if __name__ == "__main__":
    main()
