"""Every message is handed out once or counted once, in whatever order messages come: hypothesis plays camera,
segmenter, worker and clock.
"""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clipose_ros.ros.synchroniser import Synchroniser

MS = 1_000_000
JUMP = 500 * MS
STAMPS = st.integers(0, 12).map(lambda i: i * 33 * MS) | st.sampled_from([10_000 * MS + i * 33 * MS for i in range(4)])


@dataclass(frozen=True)
class Message:
    """A message of its own: no two are equal."""

    kind: str
    stamp_ns: int
    number: int


class Interleavings(RuleBasedStateMachine):
    @initialize(capacity=st.integers(1, 4), with_colour=st.booleans(), calibrated=st.booleans())
    def begin(self, capacity, with_colour, calibrated):
        self.synchroniser = Synchroniser(capacity, with_colour, JUMP)
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
        assert tuple(message.kind for message in messages) == self.kinds and {
            message.stamp_ns for message in messages
        } == {bundle.stamp_ns}
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
