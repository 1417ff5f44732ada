"""Loans: what our code borrows of other libraries beyond their documentation, and whether it is still there."""

import ast
import asyncio
import inspect
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions, version
from typing import Any

CALLED_BY_THE_LOOP = frozenset(dir(asyncio.Protocol))
CALLED_BY_HTTPTOOLS = frozenset(
    f"on_{event}" for event in ("message_begin", "url", "header", "headers_complete", "body", "message_complete")
)


@dataclass(frozen=True)
class Loan:
    """`name`: an attribute of `lender`, which is a module or, behind a colon, a class in it. `hook`: the library has to
    call it, since we override it. `parameters`: it has to take them."""

    user: str
    lender: str
    name: str
    remedy: str
    hook: bool = False
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.user}-{self.lender.rpartition(':')[2]}.{self.name}"

    def check(self) -> None:
        """Fail, with what to do, when the loan is gone."""
        release = release_of(self.lender)
        what = f"api/{self.user} borrows {self.name} of {self.lender}"
        assert self.name in offered(self.lender), f"{what}, which {release} does not have: {self.remedy}"
        if self.hook:
            assert self.name in called(self.lender), f"{what}, which {release} does not call any more: {self.remedy}"
        if self.parameters:
            function = getattr(resolved(self.lender), self.name)
            missing = set(self.parameters) - set(inspect.signature(function).parameters)
            assert not missing, f"{what}, which does not take {missing} in {release}: {self.remedy}"


@cache
def release_of(lender: str) -> str:
    packages = _distributions().get(re.split("[.:]", lender)[0])
    return f"{packages[0]} {version(packages[0])}" if packages else "this Python"


_distributions = cache(packages_distributions)


def resolved(lender: str) -> Any:
    module, _, name = lender.partition(":")
    return getattr(import_module(module), name) if name else import_module(module)


@cache
def offered(lender: str) -> frozenset[str]:
    """The names of a module; or those of a class, of its instances' attributes included. Empty where there is none."""
    try:
        found = resolved(lender)
    except (ImportError, AttributeError):
        return frozenset()
    names = set(dir(found))
    for base in inspect.getmro(found)[:-1] if inspect.isclass(found) else ():
        names |= set(inspect.get_annotations(base))
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        names |= {node.attr for node in nodes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}
    return frozenset(names)


@cache
def called(lender: str) -> frozenset[str]:
    """The attributes that the module of a class reads, and those that the event loop and httptools call."""
    tree = ast.parse(inspect.getsource(import_module(lender.partition(":")[0])))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    return frozenset(read | CALLED_BY_THE_LOOP | CALLED_BY_HTTPTOOLS)


def loans(user: str, lender: str, remedy: str, names: str, *, hooks: str = "") -> list[Loan]:
    return [
        *(Loan(user, lender, name, remedy) for name in names.split()),
        *(Loan(user, lender, name, remedy, hook=True) for name in hooks.split()),
    ]


def call(user: str, function: str, remedy: str, *parameters: str) -> Loan:
    """An entry for a function with its parameters, such as "module:function" or "module:Class.method"."""
    module, _, name = function.partition(":")
    owner, _, method = name.rpartition(".")
    lender, name = (f"{module}:{owner}", method) if owner else (module, name)
    return Loan(user, lender, name, remedy, parameters=parameters)
