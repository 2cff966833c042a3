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


def expect_shares(settings: object, *names: str) -> None:
    """Refuse settings that are neither a share nor a probability.

    Parameters
    ----------
    settings : object
        Which has them as attributes.
    *names : str
        Of the attributes.

    Raises
    ------
    ValueError
        For the first that is no number from 0 to 1.
    """
    for name in names:
        value = getattr(settings, name)
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        expect(name, real and 0 <= value <= 1, "0 to 1", value)
