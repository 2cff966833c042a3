"""Why streams never meet: what is said, and that it is true: what is advised works, by the synchroniser itself."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.joining.stamp_evidence import REMEMBERED, StampEvidence, sufficient_tolerance_s
from clipose_ros.joining.synchroniser import Synchroniser

MS = NS_PER_S // 1000
PERIOD = 33 * MS
BEGIN = 1_000 * NS_PER_S
CAPACITY = 60


def streams(images, masks_late=0, depth_late=0, apart=0, every=1):
    """Depth and masks of so many images, as (second, stamp): late by so many images, with stamps that differ [ns]."""
    for i in range(images):
        if i >= depth_late:
            yield False, BEGIN + (i - depth_late) * PERIOD
        if i >= masks_late and (i - masks_late) % every == 0:
            yield True, BEGIN + (i - masks_late) * PERIOD + apart


def evidence_of(messages, capacity=CAPACITY, tolerance_ns=0):
    evidence = StampEvidence("depth images", "instances", capacity, tolerance_ns)
    for second, stamp in messages:
        evidence.heard(second, stamp)
    return evidence


def said(messages, capacity=CAPACITY, tolerance_ns=0):
    return evidence_of(messages, capacity, tolerance_ns).explain()


def frames(messages, capacity=CAPACITY, tolerance_ns=0):
    """How many frames a synchroniser makes of the same messages."""
    synchroniser, count = Synchroniser(capacity, tolerance_ns=tolerance_ns), 0
    synchroniser.set_camera_info("info")
    for second, stamp in messages:
        (synchroniser.add_instances if second else synchroniser.add_depth)(stamp, stamp)
        count += synchroniser.take(0) is not None
    return count


def test_masks_that_come_too_late_are_told_by_how_much_and_what_buffer_size_would_do():
    late = list(streams(300, masks_late=75))
    assert frames(late) == 0
    assert said(late) == (
        "instances arrive 2.48 s after depth images of their stamp (median); "
        "buffer_size 60 keeps depth images for 1.95 s: set buffer_size to 100"
    )
    assert frames(late, capacity=100) > 200 and said(late, capacity=100) == ""


def test_depth_that_comes_too_late_is_told_likewise():
    late = list(streams(300, depth_late=75))
    assert frames(late) == 0
    assert said(late).startswith(
        "depth images arrive 2.44 s after instances of their stamp (median); buffer_size 60 keeps"
    )
    assert said(late).endswith("set buffer_size to 100") and frames(late, capacity=100) > 200


def test_what_no_buffer_can_keep_is_not_advised():
    late = list(streams(1500, masks_late=1000))
    assert said(late).endswith("1250 would be needed, 1000 is the most: a quicker source of instances is needed")


@pytest.mark.parametrize("apart", [MS, -MS, 9 * MS])
def test_stamps_that_are_near_are_told_by_how_much_and_which_tolerance_would_do(apart):
    near = list(streams(90, masks_late=5, apart=apart))
    assert frames(near) == 0
    text = said(near)
    assert (
        f"instances and depth images differ in their stamps, the nearest by {abs(apart) / MS:g} ms (median): set"
        in text
    )
    assert "or stamp instances with the stamp of the image that they are of" in text
    advised_s = float(text.partition("max_stamp_difference_s to ")[2].partition(",")[0])
    assert frames(near, tolerance_ns=round(advised_s * NS_PER_S)) == 85
    assert said(near, tolerance_ns=round(advised_s * NS_PER_S)) == ""


def test_a_tolerance_that_is_too_small_is_told_too():
    assert "max_stamp_difference_s to 0.002" in said(streams(90, apart=MS), tolerance_ns=MS // 2)


def test_where_no_tolerance_is_safe_none_is_advised():
    """The nearest image is no nearer than another: it may be the wrong one."""
    far = said(streams(90, apart=13 * MS))
    assert "max_stamp" not in far and "differ in their stamps, the nearest by 13 ms (median), too much" in far


@pytest.mark.parametrize(
    ("apart_s", "words"), [(3600, "3600.00 s after depth images"), (-3600, "3600.00 s before depth images")]
)
def test_another_clock_is_told(apart_s, words):
    assert said(streams(90, apart=apart_s * NS_PER_S)).startswith(f"instances are stamped {words}")


@pytest.mark.parametrize("before", [{}, {"masks_late": 75}, {"depth_late": 75}], ids=["well", "late", "depth late"])
@pytest.mark.parametrize("apart_s", [30, -30])
def test_what_was_before_is_not_said_of_what_is_now(before, apart_s):
    """Masks whose clock is set while the node runs."""
    now = [(second, stamp + 300 * PERIOD) for second, stamp in streams(90, apart=apart_s * NS_PER_S)]
    text = said([*streams(300, **before), *now])
    assert "arrive" not in text and "max_stamp" not in text and "stamp instances with the stamp of the image" in text


def test_one_stamp_again_and_again_is_told():
    assert said([(False, 0), (True, 0)] * 5).startswith("depth images have one stamp again and again, 0.000 s")
    frozen = said((second, stamp if not second else BEGIN) for second, stamp in streams(30))
    assert frozen.startswith("instances have one stamp again and again, 1000.000 s")


def test_one_mask_is_enough_to_tell():
    """A segmenter that takes its time: nothing more has come when somebody asks."""
    assert "set buffer_size to 100" in said(streams(80, masks_late=75, every=100))
    assert "max_stamp_difference_s to 0.002" in said(streams(20, masks_late=10, every=100, apart=MS))


@pytest.mark.parametrize(
    "messages",
    [
        (),
        streams(90),
        streams(90, masks_late=20),
        streams(90, depth_late=20),
        streams(90, masks_late=20, every=7),
        [(False, BEGIN)],
        [(True, BEGIN)] * 2,
    ],
    ids=["nothing", "together", "masks late", "depth late", "few masks", "depth alone", "masks alone"],
)
def test_where_stamps_are_no_reason_nothing_is_said(messages):
    assert said(messages) == ""


def test_it_is_said_when_half_is_too_late_though_frames_are_made():
    shaky = []
    for i in range(300):
        late = 70 if i % 3 else 5
        shaky += [(False, BEGIN + i * PERIOD), *([(True, BEGIN + (i - late) * PERIOD)] if i >= late else [])]
    assert frames(shaky) > 0
    assert "set buffer_size to" in evidence_of(shaky).explain_late()


def test_the_diagnostics_have_the_median():
    values = evidence_of(streams(300, masks_late=10, apart=MS)).values()
    assert values == {"instances after depth images ms": "330", "instances apart from depth images ms": "1.000"}
    assert evidence_of(()).values() == {}


def test_a_clock_that_goes_back_begins_anew():
    evidence = evidence_of(streams(300, masks_late=75))
    evidence.forget()
    assert evidence.explain() == ""


def test_it_is_bounded_and_a_copy_stays_as_it_is():
    evidence = evidence_of(streams(3 * REMEMBERED, masks_late=75))
    copy = evidence.copy()
    assert "set buffer_size to 100" in copy.explain()
    assert all(len(stream.arrays()[0]) < 2 * REMEMBERED for stream in copy._streams)
    before = copy.values()
    for second, stamp in streams(90, masks_late=10):
        evidence.heard(second, stamp + NS_PER_S * 10_000)
    assert copy.values() == before


@given(st.lists(st.tuples(st.booleans(), st.integers(-(2**62), 2**62)), max_size=80), st.integers(0, 2**62))
def test_whatever_comes_there_is_an_answer(messages, tolerance_ns):
    assert isinstance(said(messages, capacity=2, tolerance_ns=tolerance_ns), str)
    evidence_of(messages).values()


@given(st.floats(1e-6, 1.0), st.floats(1e-3, 10.0))
def test_the_tolerance_that_is_advised_joins_and_is_below_half_a_period(apart_s, step_s):
    advised_s = sufficient_tolerance_s(apart_s, step_s)
    assert (advised_s is None) == (not apart_s < step_s / 3)
    assert advised_s is None or apart_s <= advised_s <= step_s / 2


def test_it_is_the_synchroniser_that_notes():
    synchroniser = Synchroniser(capacity=5, with_colour=True)
    for i in itertools.count():
        synchroniser.add_depth(i * PERIOD, "d")
        synchroniser.add_instances(i * PERIOD, "i")
        synchroniser.add_colour(i * PERIOD + MS, "c")
        if i == 20:
            break
    masks, colour = synchroniser.evidence()
    assert masks.explain() == "" and "colour images and depth images differ in their stamps" in colour.explain()
