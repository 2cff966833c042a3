from clipose_ros.ros.losses import LARGEST_GAP, SequenceNumbers


def missing(*numbers):
    sequence = SequenceNumbers()
    return [sequence.missing("depth", number) for number in numbers]


def test_gaps_are_losses():
    assert missing(1, 2, 3, 7, 8, 10) == [0, 0, 0, 3, 0, 1]


def test_what_came_before_the_first_message_is_not_lost():
    assert missing(500, 501) == [0, 0]


def test_a_publisher_that_starts_again_loses_nothing():
    assert missing(499, 500, 1, 2) == [0, 0, 0, 0]
    assert missing(1, LARGEST_GAP + 3, LARGEST_GAP + 4) == [0, 0, 0]


def test_messages_without_numbers_say_nothing():
    assert missing(1, None, 2) == [0, 0, 0]


def test_topics_are_numbered_for_themselves():
    sequence = SequenceNumbers()
    assert [
        sequence.missing(topic, number) for topic, number in (("depth", 5), ("masks", 9), ("depth", 6), ("masks", 11))
    ] == [0, 0, 0, 1]
