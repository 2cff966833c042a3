"""Typed, validated parameters.

The fields of a frozen dataclass are the parameters of a node, its defaults theirs; launch/params.yaml explains them.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Collection
from typing import TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from clipose_ros.core.validation import expect

Parameters = TypeVar("Parameters")

# Every node has these; they are rclpy's.
ROS_PARAMETERS = ("use_sim_time", "start_type_description_service")


def read_parameters(
    node: Node,
    kind: type[Parameters],
    changeable: Collection[str] = (),
    on_change: Callable[[Parameters], None] = lambda parameters: None,
) -> Parameters:
    """The parameters of a node as an instance of the dataclass `kind`, declared, and fixed for the node's life but for
    the changeable ones.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`: this is how given names
    become visible, wrong ones too. on_change gets all parameters after a change, which has passed the checks of `kind`;
    what does not pass them is refused, and the old values stay.
    Raises ValueError, which names the parameter, for unknown names, missing or mistyped values and what `kind` itself
    refuses.
    """
    types = typing.get_type_hints(kind)
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if not _is_ros_parameter(name)
    }
    unknown = sorted(given.keys() - types.keys())
    for name in unknown:
        if name in (renamed := getattr(kind, "RENAMED", {})):
            raise ValueError(f"{name}: expected {renamed[name]}, got the name that an older version had")
    if unknown:
        raise ValueError(f"{unknown[0]}: expected one of the parameters {', '.join(types)}, got an unknown name")
    missing = sorted(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.name not in given
    )
    if missing:
        raise ValueError(f"{missing[0]}: expected a value, got none")
    parameters = kind(**{name: _typed(name, types[name], value) for name, value in given.items()})
    for name in sorted(types.keys() - given.keys()):
        node.declare_parameter(name, getattr(parameters, name))
    node.add_on_set_parameters_callback(_Changes(parameters, changeable, on_change))
    return parameters


class _Changes:
    """Answers the wish to set parameters of a running node.

    A change that would have no effect must not look like a success.
    """

    def __init__(
        self, parameters: Parameters, changeable: Collection[str], on_change: Callable[[Parameters], None]
    ) -> None:
        self._parameters = parameters
        self._changeable = changeable
        self._on_change = on_change

    def __call__(self, wishes: list[Parameter]) -> SetParametersResult:
        own = {wish.name: wish.value for wish in wishes if not _is_ros_parameter(wish.name)}
        fixed = [name for name in own if name not in self._changeable]
        if fixed:
            return SetParametersResult(successful=False, reason=f"{fixed[0]}: expected at start only, restart the node")
        if own:
            types = typing.get_type_hints(type(self._parameters))
            try:
                changed = dataclasses.replace(
                    self._parameters, **{name: _typed(name, types[name], value) for name, value in own.items()}
                )
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
            self._on_change(changed)
            self._parameters = changed
        return SetParametersResult(successful=True)


def _typed(name: str, expected: type, value: object) -> object:
    """The value as the expected type; YAML writes a whole number of metres as an integer, nothing else is converted."""
    if expected is float and type(value) is int:
        return float(value)
    if expected == tuple[str, ...]:
        value = [value] if isinstance(value, str) else value  # a single name, as people write it
        expect(
            name,
            isinstance(value, list) and all(isinstance(entry, str) for entry in value),
            "a list of str",
            f"{value!r}",
        )
        return tuple(value)
    expect(name, type(value) is expected, f"{expected.__name__}", f"{value!r}")
    expect(name, expected is not float or math.isfinite(value), "a finite number", value)
    return value


def _is_ros_parameter(name: str) -> bool:
    return name in ROS_PARAMETERS or name.startswith("qos_overrides.")
