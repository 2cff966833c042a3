import os
import pickle
import tracemalloc
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from clipose_ros.formats.pickles import load_pickle

# Composed by hand as Python 2 with NumPy 1 writes {'ids': np.array([1, -2], 'i4'), 'score': np.float32(1), 'path':
# 'caf\xe9'}, protocol 2.
PYTHON2 = (
    b"\x80\x02}q\x00(U\x03idsq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85"
    b"cnumpy\ndtype\nq\x05U\x02i4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x08\x01\x00\x00\x00\xfe\xff\xff\xfftb"
    b"U\x05scorecnumpy.core.multiarray\nscalar\nh\x05U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"U\x04\x00\x00\x80?\x86RU\x04pathU\x04caf\xe9u."
)

CALLS = [(os.system, "touch {}", "system"), (eval, "open({!r}, 'w')", "eval"), (open, "{}", "open")]


class Call:
    """Pickles as a call, which the ordinary unpickler would carry out."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def load(tmp_path):
    """Writes bytes, or the pickle of anything else, and loads the file."""

    def write_and_load(content, protocol=4, **arguments):
        path = tmp_path / "file.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return load_pickle(path, **arguments)

    return write_and_load


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_scalars_and_containers_come_back_as_they_were(load, protocol):
    arrays = [np.arange(6, dtype=code).reshape(2, 3) for code in ("u1", "<i4", ">i4", "f2", "f4", ">f8", "c16")]
    arrays += [
        np.eye(3)[:2].T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(True),
        np.array(["mug", "can"]),
        np.array([b"ab", b"c"]),
    ]
    arrays += [np.zeros((0, 4, 4), np.float32), np.zeros(0, bool), np.ones((2, 480), bool)]
    data = {
        "arrays": arrays,
        "scalars": [np.float32(0.5), np.int64(-3), np.bool_(True)],
        "plain": (None, 1.5, "é", b"\xff", [True, {2: {3}}]),
    }
    loaded = load(data if protocol >= 4 else {**data, "plain": (None, 1.5, "é", b"\xff", [True])}, protocol)
    for array, copy in zip(arrays, loaded["arrays"], strict=True):
        assert (
            type(copy) is np.ndarray
            and copy.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
            and copy.flags.writeable
        )
        np.testing.assert_array_equal(copy, array)
    assert [(type(value), value) for value in loaded["scalars"]] == [(type(value), value) for value in data["scalars"]]
    assert loaded["plain"] == (data["plain"] if protocol >= 4 else (None, 1.5, "é", b"\xff", [True]))


def test_an_array_that_is_named_twice_stays_one(load):
    array = np.arange(3.0)
    loaded = load([array, array])
    assert loaded[0] is loaded[1]


def test_pickles_of_python_2_are_read_as_latin_1(load):
    loaded = load(PYTHON2)
    assert loaded["ids"].tolist() == [1, -2] and loaded["ids"].dtype == np.int32
    assert loaded["score"] == 1 and type(loaded["score"]) is np.float32
    assert loaded["path"] == "café"


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(("function", "argument", "name"), CALLS)
def test_a_call_is_refused_by_name_and_never_made(load, tmp_path, protocol, function, argument, name):
    trace = tmp_path / "trace"
    arguments = (argument.format(str(trace)), "w")[: 2 if function is open else 1]
    with pytest.raises(ValueError, match=rf"file.pkl.*global: expected one that numpy arrays need, got \w+.{name}"):
        load({"gt_RTs": Call(function, *arguments)}, protocol)
    assert not trace.exists()


def test_objects_are_refused_wherever_they_hide(load):
    with pytest.raises(ValueError, match="global.*PurePosixPath"):
        load([PurePosixPath("/")])
    with pytest.raises(ValueError, match="dtype: expected numbers or text, got 'O8'"):
        load(np.array([1, None], dtype=object))
    with pytest.raises(ValueError, match="dtype: expected numbers or text, got 'V8'"):
        load(np.zeros(2, dtype=[("a", "f4"), ("b", "f4")]))
    with pytest.raises(ValueError, match="persistent"):
        load(b"Pname\n.")


def state_of(array, **changes):
    """Pickle of an array with parts of its state changed."""
    shape, code, data = (
        changes.get("shape", array.shape),
        changes.get("code", array.dtype.str[1:]),
        changes.get("data", array.tobytes()),
    )
    dtype_state = changes.get("dtype_state", (3, "<", None, None, None, -1, -1, 0))
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"

    def pickled(value):
        return pickle.dumps(value, 3)[2:-1]

    dtype = b"cnumpy\ndtype\n" + pickled((code, 0, 1)) + b"R" + pickled(dtype_state) + b"b"
    return head + b"(K\x01" + pickled(shape) + dtype + b"\x89" + pickled(data) + b"tb."


def test_what_an_array_claims_must_fit_its_bytes(load):
    array = np.arange(4.0)
    np.testing.assert_array_equal(load(state_of(array)), array)
    shapes, contents = [(5,), (-2, -2), (10**12,)], [array.tobytes()[:-1], [1, 2, 3, 4]]
    for change in ({"code": "f4"}, *({"shape": shape} for shape in shapes), *({"data": data} for data in contents)):
        with pytest.raises(ValueError, match="data: expected the bytes of"):
            load(state_of(array, **change))
    for state in (
        (3, "<", None, ("a",), {"a": 1}, 8, 1, 0),
        (3, "?", None, None, None, -1, -1, 0),
        (3, "<", (1, 2), None, None, -1, -1, 0),
    ):
        with pytest.raises(ValueError, match="dtype: expected a byte order and no fields"):
            load(state_of(array, dtype_state=state))


@pytest.mark.parametrize("bomb", [
    b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
    b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x81.",
    b"\x80\x04B\xff\xff\xff\x7fabc.",
    b"(lp0\nX\x10\x27\x00\x00" + b"a" * 10000 + b"p1\n0" + b"c_codecs\nencode\n(g1\nVlatin1\ntRa" * 1000 + b".",
])  # fmt: skip
def test_a_small_file_takes_little_memory(load, bomb):
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected a whole pickle"):
        load(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_truncated_file_is_refused_with_its_path(load):
    content = pickle.dumps({"gt_RTs": np.eye(4)[None], "gt_class_ids": np.array([1])})
    for length in range(len(content)):
        with pytest.raises(ValueError, match="file.pkl: expected a whole pickle"):
            load(content[:length])


def test_the_size_is_bounded(load):
    content = pickle.dumps(np.zeros(100))
    assert load(content, maximum_bytes=len(content)).shape == (100,)
    with pytest.raises(ValueError, match=rf"expected at most {len(content) - 1} bytes, got {len(content)}"):
        load(content, maximum_bytes=len(content) - 1)
    with pytest.raises(OSError, match="none.pkl"):
        load_pickle(Path("none.pkl"))


def test_a_file_that_is_no_pickle_is_called_so(load):
    with pytest.raises(ValueError, match="file.pkl: expected a whole pickle .*, got another file"):
        load(b'{"a": 1}')
