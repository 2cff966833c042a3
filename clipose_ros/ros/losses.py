"""Messages that were published and never came: best effort loses them, and full queues overwrite them, in silence."""

from __future__ import annotations

LARGEST_GAP = 1000  # a larger one is not a loss, but another publisher


class SequenceNumbers:
    """Tells by DDS's sequence numbers how many messages of a topic are missing.

    For topics with one publisher; one that starts again is known by its 1.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missing(self, topic: str, number: int | None) -> int:
        """Count the messages that are missing between the one before and this one.

        Parameters
        ----------
        topic : str
            Of both.
        number : int, optional
            Of this one. None is a middleware that does not number them.

        Returns
        -------
        int
            0 where that cannot be told.
        """
        if number is None:
            return 0
        gap = number - self._last.get(topic, number) - 1
        self._last[topic] = number
        return gap if 0 < gap <= LARGEST_GAP else 0
