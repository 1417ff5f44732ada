"""What reads the environment: the settings, and the options of the command."""

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


def command_options() -> list[Any]:
    """The options and arguments of `dropzero` and of every command in it."""
    return list(_options(typer.main.get_command(app)))


def names_that_are_read() -> set[str]:
    """Every variable that the settings or an option of the command reads."""
    environment = Recorded()
    read_settings(environment)
    return environment.asked | {str(option.envvar) for option in command_options()}


def _options(command: Any) -> Iterator[Any]:
    yield from command.params
    if isinstance(command, TyperGroup):
        for child in command.commands.values():
            yield from _options(child)
