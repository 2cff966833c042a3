"""Every message is handed out once or counted once, in whatever order messages come: hypothesis plays camera,
segmenter, worker and clock.
"""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clipose_ros.joining.stamp_joins import NearestPairs
from clipose_ros.joining.synchroniser import Synchroniser

MS = 1_000_000
JUMP = 500 * MS
TOLERANCES = st.sampled_from([0, 2 * MS, 20 * MS, 100 * MS])  # smaller and larger than half of the camera's period
IMAGES = st.integers(0, 12).map(lambda i: i * 33 * MS) | st.sampled_from([10_000 * MS + i * 33 * MS for i in range(4)])
STAMPS = st.builds(int.__add__, IMAGES, st.sampled_from([0, 0, 0, MS, -MS, 15 * MS]))


@dataclass(frozen=True)
class Message:
    """A message of its own: no two are equal."""

    kind: str
    stamp_ns: int
    number: int


class Interleavings(RuleBasedStateMachine):
    @initialize(
        capacity=st.integers(1, 4), with_colour=st.booleans(), calibrated=st.booleans(), tolerance_ns=TOLERANCES
    )
    def begin(self, capacity, with_colour, calibrated, tolerance_ns):
        self.synchroniser, self.tolerance_ns = Synchroniser(capacity, with_colour, JUMP, tolerance_ns), tolerance_ns
        self.kinds = ("depth", "instances", "colour") if with_colour else ("depth", "instances")
        self.capacity, self.sent, self.taken, self.infos = capacity, 0, [], 0
        if calibrated:
            self.calibrate()

    @rule()
    def calibrate(self):
        self.infos += 1
        self.synchroniser.set_camera_info(self.infos)

    @rule(stamp_ns=STAMPS)
    def depth(self, stamp_ns):
        self.synchroniser.add_depth(stamp_ns, self.message("depth", stamp_ns))

    @rule(stamp_ns=STAMPS)
    def instances(self, stamp_ns):
        self.synchroniser.add_instances(stamp_ns, self.message("instances", stamp_ns))

    @precondition(lambda self: "colour" in self.kinds)
    @rule(stamp_ns=STAMPS)
    def colour(self, stamp_ns):
        self.synchroniser.add_colour(stamp_ns, self.message("colour", stamp_ns))

    @rule(stamp_ns=STAMPS)
    def frame(self, stamp_ns):
        self.depth(stamp_ns)
        self.instances(stamp_ns)
        if "colour" in self.kinds:
            self.colour(stamp_ns)

    @rule()
    def take(self):
        bundle = self.synchroniser.take(0)
        if bundle is None:
            return
        messages = [message for message in (bundle.depth, bundle.instances, bundle.colour) if message is not None]
        assert tuple(message.kind for message in messages) == self.kinds and messages[0].stamp_ns == bundle.stamp_ns
        assert all(abs(message.stamp_ns - bundle.stamp_ns) <= self.tolerance_ns for message in messages)
        assert 1 <= bundle.camera_info <= self.infos
        self.taken += messages

    @invariant()
    def nothing_is_lost_or_counted_twice(self):
        """What is neither handed out nor counted waits: for its partners, or as a whole frame for the worker."""
        assert self.missing() in (0, len(self.kinds))
        assert len(self.synchroniser) <= len(self.kinds) * self.capacity
        assert len(set(self.taken)) == len(self.taken)

    def teardown(self):
        if hasattr(self, "synchroniser"):
            self.take()
            assert self.missing() == 0

    def message(self, kind, stamp_ns):
        self.sent += 1
        return Message(kind, stamp_ns, self.sent)

    def missing(self):
        """Messages that are not accounted for: a cause that begins with `frame` counts whole frames."""
        counted = sum(
            count * (len(self.kinds) if cause.startswith("frame") else 1)
            for cause, count in self.synchroniser.drops.items()
        )
        return self.sent - len(self.taken) - counted - len(self.synchroniser)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(stateful_step_count=40)


@given(
    st.lists(st.tuples(st.sampled_from([33 * MS, 10_000 * MS, -501 * MS, -10_000 * MS]), st.booleans(), st.booleans()))
)
def test_every_image_with_masks_is_handed_out_whatever_the_clock_does_and_whichever_comes_first(images):
    """Steps of the clock, a depth image from the future before, masks before depth."""
    synchroniser, stamp_ns = Synchroniser(capacity=2, jump_ns=JUMP), 1_000_000 * MS
    synchroniser.set_camera_info("info")
    for step_ns, future, masks_first in images:
        stamp_ns += step_ns
        if future:
            synchroniser.add_depth(stamp_ns + 3_600_000 * MS, "future")
        add = [synchroniser.add_depth, synchroniser.add_instances]
        for message in reversed(add) if masks_first else add:
            message(stamp_ns, stamp_ns)
        assert synchroniser.take(0).stamp_ns == stamp_ns


@given(
    tolerance_ms=st.integers(1, 16),
    apart_ms=st.integers(-16, 16),
    jitter_ms=st.lists(st.integers(-1, 1), min_size=30, max_size=30),
    late=st.integers(0, 4),
    lost=st.sets(st.integers(0, 29)),
)
def test_with_a_tolerance_below_half_a_period_masks_get_their_own_image(tolerance_ms, apart_ms, jitter_ms, late, lost):
    """However late they come, whichever of the two is stamped first, and whatever was lost; never another one's."""
    synchroniser, answered = Synchroniser(capacity=10, tolerance_ns=tolerance_ms * MS), []
    synchroniser.set_camera_info("info")
    for i in range(30 + late):
        if i < 30 and i not in lost:
            synchroniser.add_depth((1000 + i * 35) * MS, i)
        if i >= late:
            mask = i - late
            synchroniser.add_instances((1000 + mask * 35 + apart_ms + jitter_ms[mask]) * MS, mask)
        if (bundle := synchroniser.take(0)) is not None:
            assert bundle.depth == bundle.instances and bundle.stamp_ns == (1000 + bundle.depth * 35) * MS
            answered.append(bundle.depth)
    near = [i for i in range(30) if i not in lost and abs(apart_ms + jitter_ms[i]) <= tolerance_ms]
    assert answered == near


PAIR_STAMPS = st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=40, unique=True)


@given(stamps=PAIR_STAMPS, removed=st.sets(st.integers(0, 400)), tolerance=st.integers(1, 60))
def test_pairs_are_within_the_tolerance_and_nothing_is_paired_twice(stamps, removed, tolerance):
    pairs, found = NearestPairs(tolerance), []
    for second, stamp in stamps:
        found += pairs.add(second, stamp)
        if stamp in removed:
            pairs.remove(second, stamp)
    assert all(abs(first - second) <= tolerance for first, second in found)
    for of_second in (False, True):
        used = [pair[of_second] for pair in found]
        assert len(used) == len(set(used)) and {(of_second, stamp) for stamp in used} <= set(stamps)


@given(stamps=PAIR_STAMPS, tolerance=st.integers(1, 60))
def test_what_is_paired_is_each_others_nearest_of_what_waits_and_what_can_be_paired_is(stamps, tolerance):
    """Compared with a search of everything, after each message; the same messages give the same pairs."""
    pairs, again, waiting = NearestPairs(tolerance), NearestPairs(tolerance), (set(), set())

    def nearest(stamp, others):
        return min(sorted(others), key=lambda other: abs(other - stamp), default=None)

    for second, stamp in stamps:
        waiting[second].add(stamp)
        found = pairs.add(second, stamp)
        assert found == again.add(second, stamp)
        for pair in found:
            assert nearest(pair[0], waiting[1]) == pair[1] and nearest(pair[1], waiting[0]) == pair[0]
            waiting[0].remove(pair[0])
            waiting[1].remove(pair[1])
    last = dict(stamps)
    for first in waiting[0]:
        other = nearest(first, waiting[1])
        if other is not None and nearest(other, waiting[0]) == first and abs(first - other) <= tolerance:
            assert min(first, other) == last[other < first]  # it waits for the next one of its stream


@given(depth_first=st.booleans(), late=st.integers(0, 3))
def test_of_two_masks_near_one_image_the_nearer_one_has_it(depth_first, late):
    """Masks at twice the camera's rate, and a tolerance that would take either."""
    synchroniser, answered = Synchroniser(capacity=20, tolerance_ns=20 * MS), []
    synchroniser.set_camera_info("info")
    for i in range(20 + late):
        adds = [lambda: i >= late and synchroniser.add_instances((1000 + (i - late) * 17) * MS, i - late)]
        if i % 2 == 0:
            adds.insert(0 if depth_first else 1, lambda: synchroniser.add_depth((1000 + i * 17) * MS, i))
        for add in adds:
            add()
        if (bundle := synchroniser.take(0)) is not None:
            answered.append((bundle.depth, bundle.instances))
    warm = [pair for pair in answered if pair[0] > 4]
    assert len(warm) >= 6 and all(depth == mask for depth, mask in warm)
