"""What the docs show is run: Python blocks execute, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:console|sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)|src=\"(?!https?:)([^\"]+)\"")
COMMANDS = ("usufruct-oracle", "usufruct-meter")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def snippets() -> list[tuple[str, str]]:
    return [(named(page), code) for page in PAGES for code in PYTHON.findall(page.read_text())]


def shown_commands() -> list[tuple[str, ...]]:
    """Return (command, subcommand …) of every command line in the docs."""
    found = set()
    for page in PAGES:
        for block in SHELL.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                words = (
                    shlex.split(line.removeprefix("$ "), comments=True)
                    if line.startswith(("$ ", *COMMANDS))
                    else []
                )
                if words and words[0] in COMMANDS:
                    found.add(
                        (words[0], *[w for w in words[1:3] if re.fullmatch(r"[a-z-]+", w) and w[0] != "-"])
                    )
    return sorted(found)


@pytest.mark.parametrize(("page", "code"), snippets())
def test_python_in_the_docs_runs(page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("words", shown_commands(), ids=" ".join)
def test_commands_in_the_docs_exist(words: tuple[str, ...]) -> None:
    module = words[0].replace("-", "_")
    run = f"import sys; from {module}.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", run, *words[1:], "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_in_the_docs_lead_somewhere(page: Path) -> None:
    targets = [first or second for first, second in LINK.findall(page.read_text())]
    missing = [t for t in targets if t.split("#")[0] and not (page.parent / t.split("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "replay"])
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
