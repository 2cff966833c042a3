"""Typed, validated parameters.

The fields of a frozen dataclass are the parameters of a node, its defaults theirs; launch/params.yaml explains them.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import typing
from collections.abc import Callable, Collection, Iterable
from typing import Literal, TypeVar

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from clipose_ros.core.validation import expect
from clipose_ros.ros.parameter_files import unread_files

Parameters = TypeVar("Parameters")

# Every node has these; they are rclpy's.
ROS_PARAMETERS = ("use_sim_time", "start_type_description_service")
LIST = tuple[str, ...]
# What a field may be, for ROS and for people.
ROS_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    LIST: Parameter.Type.STRING_ARRAY,
}
EXPECTED = {
    bool: "bool (true or false)",
    int: "int",
    float: "float",
    str: "str (in quotes of its own: \"{name}:='…'\")",
    LIST: "a list of str",
}


def read_parameters(
    node: Node,
    kind: type[Parameters],
    changeable: Collection[str] = (),
    on_change: Callable[[Parameters], None] = lambda parameters: None,
) -> Parameters:
    """Declare the parameters of a node, and read them.

    Warns of a parameter file that has nothing for this node.

    Parameters
    ----------
    node : Node
        Made without `automatically_declare_parameters_from_overrides`, which cannot bear an empty list.
    kind : type
        A frozen dataclass whose fields are the parameters.
    changeable : collection of str
        Those that may be set while the node runs; of the others, only to the value that they have.
    on_change : callable
        Gets all parameters after a change, which has passed the checks of `kind`. What does not pass them is refused,
        and the old values stay.

    Returns
    -------
    kind
        What was given, else the defaults.

    Raises
    ------
    ValueError
        With the parameter's name, for unknown names, missing or mistyped values and what `kind` itself refuses.
    """
    for text in unread_files(sys.argv, node.get_fully_qualified_name()):
        node.get_logger().warning(text)
    types = typing.get_type_hints(kind)
    # rclpy tells of what was given for undeclared names, which may be misspelt, in no other way.
    overrides = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
    given = {name: value for name, value in overrides.items() if not _is_ros_parameter(name)}
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
        raise ValueError(f"{missing[0]}: expected a value, got none; give it: --ros-args -p {missing[0]}:=…")
    parameters = kind(**{name: _typed(name, types[name], value) for name, value in given.items()})
    for name in types:  # of any type: it is `_Changes` that says what is wrong with one
        node.declare_parameter(name, None, ParameterDescriptor(dynamic_typing=True), ignore_override=True)
    node.set_parameters_atomically(_messages(parameters, types))
    changes = _Changes(parameters, changeable, on_change)
    node.add_pre_set_parameters_callback(changes.convert)
    node.add_on_set_parameters_callback(changes.judge)
    node.add_post_set_parameters_callback(changes.apply)
    return parameters


class _Changes:
    """Answers the wish to set parameters of a running node: all that are wished for together, or none.

    A change that would have no effect must not look like a success; one that changes nothing is one.
    """

    def __init__(
        self, parameters: Parameters, changeable: Collection[str], on_change: Callable[[Parameters], None]
    ) -> None:
        self._parameters = parameters
        self._changeable = changeable
        self._on_change = on_change
        self._types = typing.get_type_hints(type(parameters))

    def convert(self, wishes: list[Parameter]) -> list[Parameter]:
        """Give the wishes the types and the spelling that the node has; what does not fit is left for `judge`."""
        try:
            changed = self._changed(wishes)
        except ValueError:
            return wishes
        own = {wish.name: self._types[wish.name] for wish in wishes if wish.name in self._types}
        return [wish for wish in wishes if wish.name not in own] + _messages(changed, own)

    def judge(self, wishes: list[Parameter]) -> SetParametersResult:
        """Refuse what is fixed or does not pass the checks."""
        try:
            changed = self._changed(wishes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for field in dataclasses.fields(changed):
            same = getattr(changed, field.name) == getattr(self._parameters, field.name)
            if not same and field.name not in self._changeable:
                reason = f"{field.name}: expected at start only, restart the node"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def apply(self, wishes: list[Parameter]) -> None:
        """Go on with what was accepted, by everybody who is asked."""
        changed = self._changed(wishes)
        if changed != self._parameters:
            self._parameters = changed
            self._on_change(changed)

    def _changed(self, wishes: Iterable[Parameter]) -> Parameters:
        own = {wish.name: wish.value for wish in wishes if wish.name in self._types}
        values = {name: _typed(name, self._types[name], value) for name, value in own.items()}
        return dataclasses.replace(self._parameters, **values)


def _messages(parameters: Parameters, types: dict[str, type]) -> list[Parameter]:
    """What ROS shows of the parameters with these types."""
    kinds = {name: str if typing.get_origin(kind) is Literal else kind for name, kind in types.items()}
    return [Parameter(name, ROS_TYPES[kind], getattr(parameters, name)) for name, kind in kinds.items()]


def _typed(name: str, expected: type, value: object) -> object:
    """The value as the expected type, of what people write for it; what is not exactly the same is refused."""
    if expected is float and type(value) is int:  # metres without a point
        return float(value)
    if expected is int and type(value) is float and value.is_integer():
        return int(value)
    if expected == LIST:
        return _list(name, value)
    if typing.get_origin(expected) is Literal:
        words = typing.get_args(expected)
        word = "off" if value is False and "off" in words else value  # YAML takes off for false
        word = word.lower() if isinstance(word, str) else word
        expect(name, word in words, f"one of {', '.join(words)}", f"{value!r}")
        return word
    got = "an empty list" if value is None else repr(value)  # rcl has no type for one
    expect(name, type(value) is expected, EXPECTED[expected].format(name=name), got)
    expect(name, expected is not float or math.isfinite(value), "a finite number", value)
    return value


def _list(name: str, value: object) -> LIST:
    """A list, which an empty one is, too: as `[]`, or as the empty text that launch files can write."""
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) else value  # a single name, as people write it
    listed = isinstance(values, (list, tuple)) and all(isinstance(entry, str) for entry in values)
    expect(name, listed, EXPECTED[LIST], f"{value!r}")
    return tuple(values)


def _is_ros_parameter(name: str) -> bool:
    return name in ROS_PARAMETERS or name.startswith("qos_overrides.")
