"""The console blocks of a page, run as they are: in bash, or in this process where that makes no difference."""

import asyncio
import re
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from tests.command import dropzero_here, environment, started
from tests.patience import PATIENCE

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Step:
    """A command of a block, and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def steps(text: str) -> list[Step]:
    """The commands of all console blocks in a text of Markdown, in their order."""
    found = []
    for indent, block in re.findall(r"^( *)```console\n(.*?)^\1```", text, re.M | re.S):
        for part in re.split(rf"^{indent}\$ ", block, flags=re.M)[1:]:
            command, *shown = part.splitlines()
            found.append(Step(command, tuple(line.removeprefix(indent) for line in shown)))
    return found


@dataclass(frozen=True)
class Console:
    """Runs commands in a folder, after the functions that the page defines, with variables."""

    folder: Path
    functions: str
    variables: Mapping[str, str]

    def with_variables(self, variables: Mapping[str, str]) -> "Console":
        return replace(self, variables={**self.variables, **variables})

    async def run(self, command: str) -> str:
        """What the command prints, to standard output and standard error."""
        words = shlex.split(Template(command).safe_substitute(self.variables))
        if "dropzero" not in words or {"|", "--output"} & set(words):
            return await self._bash(command)
        start = words.index("dropzero")
        end = words.index(">") if ">" in words else len(words)
        set_here = dict(word.split("=", 1) for word in words[:start])
        run = await dropzero_here(*words[start + 1 : end], **{**self.variables, **set_here})
        if end == len(words):
            return run.out + run.err
        (self.folder / words[end + 1]).write_text(run.out, encoding="utf-8")
        return run.err

    async def _bash(self, command: str) -> str:
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        program = programs / "dropzero"
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m api.cli "$@"\n')
        program.chmod(0o755)
        there = environment(self.variables)
        there["PATH"] = f"{programs}:{there['PATH']}"
        bash = ("bash", "-c", f"{self.functions}\n{command}")
        async with started(*bash, env=there, cwd=self.folder, stdout=PIPE, stderr=STDOUT) as process:
            async with asyncio.timeout(PATIENCE):
                out, _ = await process.communicate()
        return out.decode()


def unseen(step: Step, printed: str) -> list[str]:
    """The lines that the page shows and that the command has not printed, in their order. `…` stands for any text, and
    blanks for any number of them."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    missing = []
    for shown in step.shown:
        pattern = ".*".join(map(re.escape, re.split(" ?… ?", " ".join(shown.split()))))
        number = next((number for number, line in enumerate(lines) if re.fullmatch(pattern, line)), None)
        if number is None:
            missing.append(shown)
        else:
            del lines[: number + 1]
    return missing
