"""What is public has a docstring, with NumPy's sections for what goes in and what comes out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("clipose_ros", "training")

INPUTS = ("Parameters", "Attributes")
OUTPUTS = ("Returns", "Yields")
REFERENCE = re.compile(r"(See|As) `[\w.]+`")  # another docstring says it all
INLINE = re.compile(r"(Parameters|Returns|Raises( \w+Error)?): ")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def rooms() -> list[str]:
    """The folders and the loose modules of the packages."""
    places = (place for package in PACKAGES for place in (ROOT / package).iterdir() if modules(place))
    return sorted(place.relative_to(ROOT).as_posix() for place in places)


def modules(place: Path) -> list[Path]:
    """A module, or the modules of a folder."""
    return sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.suffix == ".py" else []


def problems(module: ast.Module, name: str) -> Iterator[str]:
    """What the docstrings of a module lack, each with its line."""
    if not ast.get_docstring(module) and name != "__init__.py":
        yield "1: no docstring of the module"
    yield from problems_of_members(module, "")


def problems_of_members(owner: ast.Module | ast.ClassDef, path: str) -> Iterator[str]:
    for node in owner.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        is_class = isinstance(node, ast.ClassDef)
        found = problems_of_class(node) if is_class else problems_of_function(node, isinstance(owner, ast.ClassDef))
        yield from (f"{node.lineno}: {path}{node.name}: {problem}" for problem in found)
        if is_class:
            yield from problems_of_members(node, f"{path}{node.name}.")


def problems_of_class(node: ast.ClassDef) -> Iterator[str]:
    text = ast.get_docstring(node) or ""
    if not text:
        yield "no docstring"
    init = next((member for member in node.body if isinstance(member, Function) and member.name == "__init__"), None)
    wanted = fields(node) or (arguments(init, bound=True) if init else [])
    yield from problems_of_inputs(wanted, f"{text}\n{init and ast.get_docstring(init) or ''}", INPUTS)


def problems_of_function(node: Function, is_method: bool) -> Iterator[str]:
    text = ast.get_docstring(node)
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    if not text:
        yield "no docstring"
    elif not (REFERENCE.match(text) or re.search("property|overload", decorators)):
        wanted = arguments(node, bound=is_method and "staticmethod" not in decorators)
        yield from problems_of_inputs(wanted, text, INPUTS[:1])
        nothing = node.returns is None or ast.unparse(node.returns) == "None"
        if not nothing and section(text, OUTPUTS) is None:
            yield "no section Returns"
        if INLINE.search(text):
            yield "a section within a paragraph"


def problems_of_inputs(wanted: list[str], text: str, sections: tuple[str, ...]) -> Iterator[str]:
    listed = section(text, sections)
    if wanted and listed is None:
        yield f"no section {' or '.join(sections)}"
    elif wanted:
        yield from (f"{name} is not in its section" for name in wanted if name not in listed)


def fields(node: ast.ClassDef) -> list[str]:
    """The public fields of a dataclass or a named tuple; none of another class."""
    kinds = " ".join(map(ast.unparse, (*node.decorator_list, *node.bases)))
    declared = [member.target for member in node.body if isinstance(member, ast.AnnAssign)]
    names = [target.id for target in declared if isinstance(target, ast.Name) and not target.id.startswith("_")]
    return names if re.search(r"\b(dataclass|NamedTuple)\b", kinds) else []


def arguments(node: Function, bound: bool) -> list[str]:
    """Its parameters by name, without the object or class that it is bound to."""
    parameters = node.args
    names = [one.arg for one in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)]
    return names[1:] if bound else names


def section(text: str, titles: tuple[str, ...]) -> set[str] | None:
    """The entries of the sections with these titles; None where there is no such section."""
    entries, inside = None, False
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""]):
        if following and not following.strip("-"):  # a title is underlined
            inside = line in titles
            entries = (entries or set()) if inside else entries
        elif inside and line[:1] not in ("", " ", "-"):
            entries |= {entry.strip(" *") for entry in line.split(" :")[0].split(",")}
    return entries


@pytest.mark.parametrize("room", rooms())
def test_what_is_public_is_documented(room):
    found = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in modules(ROOT / room)
        for problem in problems(ast.parse(path.read_text(encoding="utf-8")), path.name)
    ]
    assert found == []


DOCUMENTED = '''"""Module."""
def half(a: float, *, b: int = 2) -> float:
    """Halve.

    Parameters
    ----------
    a, b : float
        Numbers.

    Returns
    -------
    float
        Half of them.
    """
@dataclass(frozen=True)
class Half:
    """Half.

    Parameters
    ----------
    of : float
        Whole.
    """
    of: float
    def doubled(self) -> float:
        """See `Whole.doubled`."""
    def _secret(self, a): ...
'''


def test_a_documented_module_has_no_problem():
    assert list(problems(ast.parse(DOCUMENTED), "half.py")) == []


@pytest.mark.parametrize(
    ("there", "instead", "problem"),
    [
        ('"""Module."""', "", "1: no docstring of the module"),
        ("a, b : float", "a : float", "2: half: b is not in its section"),
        ("Parameters\n    ----------\n    a", "Notes\n    -----\n    a", "2: half: no section Parameters"),
        ("Returns\n    -------\n    float", "It gives\n    float", "2: half: no section Returns"),
        ("Halve.", "Halve. Raises ValueError: never.", "2: half: a section within a paragraph"),
        ("of : float", "whole : float", "16: Half: of is not in its section"),
        ('"""See `Whole.doubled`."""', "...", "25: Half.doubled: no docstring"),
        ("See `Whole.doubled`", "Double it", "25: Half.doubled: no section Returns"),
    ],
)
def test_what_a_docstring_lacks_is_found(there, instead, problem):
    assert there in DOCUMENTED
    assert list(problems(ast.parse(DOCUMENTED.replace(there, instead)), "half.py")) == [problem]
