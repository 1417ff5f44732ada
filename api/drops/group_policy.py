"""How purchases of one product are grouped."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """What a line may do.

    `size`: purchases in one transaction at most. An order writes a row, two index entries, a third one if it is held,
    and perhaps its buyer's holding: 500 of them write 2,500 rows, and the shards. With MAX_LAPSED holds that run out
    there are 2,865. Aurora DSQL allows 3,000 changed rows, and may count index entries.
    `executing`: transactions of one product that have not sent their COMMIT, at a time.
    `in_flight`: transactions of one product at a time, if it has as many shards. With 50 buyers and commits of 20 ms,
    two sold 1.4 times as much as one, three 1.5 and four 1.6 times.
    `short_commit`: seconds that a COMMIT may take before the next group is executed beside it. A shorter one ends
    before that group would have been read, and smaller groups cost more for each purchase.
    `max_unanswered`: purchases at one endpoint that are not answered yet, of all products, at most. Past it, the
    client with most of them gives way: its newest purchase, arriving or waiting, is answered Busy.
    """

    size: int = 500
    executing: int = 1
    in_flight: int = 4
    short_commit: float = 0.002
    max_unanswered: int = 20_000
