"""The one way in which a wrong value is refused."""

from __future__ import annotations


def expect(name: str, condition: object, expected: str, got: object) -> None:
    """Refuse a value unless a condition holds.

    Parameters
    ----------
    name : str
        Of the value.
    condition : object
        What must hold; its truth counts.
    expected : str
        What would be right, in words.
    got : object
        What there is.

    Raises
    ------
    ValueError
        If the condition does not hold, as `name: expected …, got …`.
    """
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {got}")
