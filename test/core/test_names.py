"""A name says one thing: no two modules and no two public classes of the package share theirs."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "clipose_ros"
# The doctor of the machine is a room, that of live topics a module of ros/: `clipose doctor` asks both.
ALLOWED = {"doctor"}


def places_by_name(names_of):
    """Where a name stands, of those that stand more than once."""
    places = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for name in names_of(file):
            places[name].append(str(file.relative_to(PACKAGE)))
    return {name: files for name, files in places.items() if len(files) > 1 and name not in ALLOWED}


def public_classes(file):
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def test_no_two_modules_share_a_name():
    assert places_by_name(lambda file: [file.parent.name if file.stem == "__init__" else file.stem]) == {}


def test_no_two_public_classes_share_a_name():
    assert places_by_name(public_classes) == {}


def test_hardly_a_module_lies_outside_of_a_room():
    """So that someone new finds the room in a minute."""
    loose = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= 4, loose
