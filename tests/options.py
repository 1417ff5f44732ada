"""What operators set: the variables of the settings, and the commands with their options."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from api.cli import app
from api.settings import read_settings


class Recorded(dict[str, str]):
    """An empty environment that records the names that were looked up in it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        self.asked.add(name)
        return default


def command_of(words: list[str]) -> Any:
    """The command that the words begin with. Removes the command's name from the words."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup) and words:
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
    return command


def command_options() -> list[Any]:
    """The options and arguments of `dropzero` and of every command in it."""
    return [option for _, option in _options(typer.main.get_command(app), "DROPZERO")]


def names_that_are_read() -> set[str]:
    """Every variable that the settings, an option of a command or `auto_envvar_prefix` reads."""
    environment = Recorded()
    read_settings(environment)
    return environment.asked | {name for name, _ in _options(typer.main.get_command(app), "DROPZERO")}


def _options(command: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The options of a command and of those in it, each with the variable that it is read from."""
    for option in command.params:
        yield option.envvar or f"{prefix}_{option.name}".upper(), option
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _options(child, f"{prefix}_{name}")
