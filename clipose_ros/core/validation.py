"""How a wrong value is refused, the same way everywhere."""

from __future__ import annotations


def expect(name: str, condition: object, expected: str, got: object) -> None:
    """Raise ValueError `name: expected …, got …` unless the condition holds."""
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {got}")
