"""`usufruct_protocol` computes the same everywhere: no inexact numbers, no clock, no outside world.

import-linter checks the imports of whole packages; this reads the syntax tree, so it also sees a division, a
float literal, or a call to open().
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import usufruct_protocol

PACKAGE = Path(usufruct_protocol.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

ALLOWED_IMPORTS = {
    "__future__", "array", "base64", "coincurve", "collections", "dataclasses", "enum", "functools",
    "hashlib", "hmac", "itertools", "operator", "re", "struct", "tiny_keccak", "typing", "usufruct_protocol",
}  # fmt: skip
"""Everything else is refused, so that a new module has to be thought about before it gets in."""

BANNED_NAMES = {
    "float", "complex", "round",                          # inexact numbers
    "open", "print", "input", "breakpoint",               # the outside world
    "eval", "exec", "compile", "__import__", "globals",   # code from data
    "hash", "id",                                         # differ between processes; __hash__ may use them
}  # fmt: skip


def impurities(source: str) -> Iterator[str]:
    """Yield what a source has that could give another result elsewhere, with its line."""
    tree = ast.parse(source)
    in_hash_methods = {
        inner
        for method in ast.walk(tree)
        if isinstance(method, ast.FunctionDef) and method.name == "__hash__"
        for inner in ast.walk(method)
        if isinstance(inner, ast.Name) and inner.id == "hash"
    }
    for node in ast.walk(tree):
        if node not in in_hash_methods:
            yield from (f"line {getattr(node, 'lineno', 0)}: {found}" for found in _impurities_of(node))


def _impurities_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=float() | complex()):
            yield "a float literal"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield "a true division"
        case ast.BinOp(op=ast.Pow(), right=exponent) if not isinstance(exponent, ast.Constant):
            yield "a power whose exponent may be negative"
        case ast.Name(id=name) if name in BANNED_NAMES:
            yield f"the name {name}"
        case ast.Attribute(attr=("truediv" | "itruediv") as name):
            yield f"the name {name}"
        case ast.Import(names=names):
            yield from (f"an import of {alias.name}" for alias in names if not _is_allowed(alias.name))
        case ast.ImportFrom(module=module, level=level, names=names):
            if level or not _is_allowed(module or ""):
                yield f"an import of {module}"
            yield from (f"the name {one.name}" for one in names if one.name in {"truediv", "itruediv"})


def _is_allowed(module: str) -> bool:
    return module.partition(".")[0] in ALLOWED_IMPORTS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_protocol_sources_are_pure(path: Path) -> None:
    assert list(impurities(path.read_text())) == []


def test_all_of_the_package_is_read() -> None:
    assert {"money.py", "allocation.py", "sumtree.py", "report.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize(
    "source",
    [
        "x = 0.5",
        "x = 1e6",
        "x = 2j",
        "x = a / b",
        "x /= b",
        "x = 10 ** -1",
        "x = 10 ** n",
        "x = float(a)",
        "x = round(a)",
        "from operator import truediv",
        "import operator\noperator.truediv(1, 2)",
        "from decimal import Decimal",
        "import fractions",
        "import math",
        "import time",
        "from datetime import datetime",
        "import os",
        "import logging",
        "import random",
        "from secrets import token_bytes",
        "import socket",
        "from pathlib import Path",
        "import numpy as np",
        "from . import money",
        "open('x')",
        "print('x')",
        "hash('x')",
        "sorted(rows, key=id)",
        "__import__('os')",
    ],
)
def test_each_kind_of_impurity_is_seen(source: str) -> None:
    assert list(impurities(source))


@pytest.mark.parametrize("source", ["x = a // b", "x = 2**96 - 1", "x = 1 << bits", "import hashlib"])
def test_exact_integer_code_passes(source: str) -> None:
    assert list(impurities(source)) == []
