"""Pickles of arrays, read without running them: the data sets and results of NOCS are published as pickles, some of
them written by Python 2.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

MAXIMUM_BYTES = 64 * 1024 * 1024
NUMBERS_OR_TEXT = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5}")

# What stands for the class `numpy.ndarray` in a pickle: it says what to rebuild and, unlike the class, cannot be
# called.
_NDARRAY = object()


def load_pickle(path: Path, maximum_bytes: int = MAXIMUM_BYTES) -> Any:
    """Read a pickle of None, bool, int, float, str, bytes, list, tuple, dict, set, numpy arrays and numpy scalars.

    Nothing that the file names is imported or called: what arrays need is rebuilt here, and every size is checked
    before memory is taken. Arrays of Python objects and structured arrays are refused. Text of Python 2 is read as
    Latin-1.

    Parameters
    ----------
    path : Path
        Of the pickle.
    maximum_bytes : int
        Size of the largest file that is read.

    Returns
    -------
    Any
        What the pickle holds.

    Raises
    ------
    ValueError
        With the path, for a file larger than `maximum_bytes`, broken or naming anything else.
    OSError
        Where the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > maximum_bytes:
            raise ValueError(f"{path}: expected at most {maximum_bytes} bytes, got {size}")
        content = file.read(size)
    try:
        return _ArrayUnpickler(content).load()
    except KeyError as error:  # an opcode that no pickle has
        raise ValueError(f"{path}: expected a whole pickle of arrays and plain containers, got another file") from error
    except Exception as error:  # a broken pickle can raise anything, as the documentation of `pickle` says
        raise ValueError(
            f"{path}: expected a whole pickle of arrays and plain containers, got {type(error).__name__}: {error}"
        ) from error


class _Dtype:
    """Stands for a dtype while the pickle is read: the real one would trust the flags, offsets and sizes of the
    pickle's state.
    """

    def __init__(self, code: str, *_: Any) -> None:
        if not NUMBERS_OR_TEXT.fullmatch(code):
            raise pickle.UnpicklingError(f"dtype: expected numbers or text, got {code!r}")
        self.value = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        byte_order, *structure = state[1:5]
        if byte_order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise pickle.UnpicklingError(f"dtype: expected a byte order and no fields, got {state}")
        self.value = self.value.newbyteorder(byte_order)


# The Python implementation, because only there BUILD can be taken over, with which a pickle hands its state to an
# object.
class _ArrayUnpickler(pickle._Unpickler):
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        # Honest content is copied twice at most, from text to bytes and from bytes to an array. A small file that has
        # the same bytes copied over and over is a bomb.
        self._copies_left = 2 * len(content)

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            "numpy.ndarray": _NDARRAY,
            "numpy.dtype": _Dtype,
            "numpy.core.multiarray._reconstruct": _empty_array,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._array,
            "_codecs.encode": self._encode,
            "builtins.bytes": _no_bytes,
        }
        # numpy 2; Python 2
        key = f"{module}.{name}".replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
        if key not in admitted:
            raise pickle.UnpicklingError(f"global: expected one that numpy arrays need, got {module}.{name}")
        return admitted[key]

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Dtype):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            _, shape, dtype, fortran, data = state
            data = data.encode("latin1") if isinstance(data, str) else data  # Python 2
            target.__setstate__((1, shape, self._dtype(dtype, shape, data), bool(fortran), data))
        else:
            raise pickle.UnpicklingError(f"state: expected that of an array, got that of a {type(target).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def _encode(self, text: str, encoding: str) -> bytes:
        """How protocols without bytes write them."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"encoding: expected latin1, got {encoding!r}")
        self._count_copy(len(text))
        return text.encode(encoding)

    def _array(self, data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        """How protocol 5 writes an array."""
        return np.ndarray(shape, self._dtype(dtype, shape, data), buffer=data, order=order).copy(order)

    def _scalar(self, dtype: _Dtype, data: bytes | str) -> np.generic:
        data = data.encode("latin1") if isinstance(data, str) else data  # Python 2
        return np.ndarray((), self._dtype(dtype, (), data), buffer=data)[()]

    def _dtype(self, dtype: _Dtype, shape: tuple[int, ...], data: bytes | bytearray) -> np.dtype:
        """The dtype of an array about to be made, after the check that `data` fills it exactly."""
        if (
            not isinstance(data, (bytes, bytearray))
            or min(shape, default=0) < 0
            or math.prod(shape) * dtype.value.itemsize != len(data)
        ):
            got = f"{len(data)} bytes" if isinstance(data, (bytes, bytearray)) else type(data).__name__
            raise pickle.UnpicklingError(f"data: expected the bytes of {shape} {dtype.value}, got {got}")
        self._count_copy(len(data))
        return dtype.value

    def _count_copy(self, size: int) -> None:
        self._copies_left -= size
        if self._copies_left < 0:
            raise pickle.UnpicklingError("data: expected each byte to be used once, got a file that repeats them")


def _empty_array(kind: object, *_: Any) -> np.ndarray:
    """What an array is until its state arrives."""
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError(f"array: expected numpy.ndarray, got {kind!r}")
    return np.empty(0)


def _no_bytes() -> bytes:
    """How protocols without bytes write empty ones."""
    return b""
