"""The parts of MinIVess Review.

`client` speaks HTTP, `errands` are what is asked in one go, `worker` runs them in a thread. `scene` holds image and mask, `views`
what is looked at (both MRML only), `case` the image under review. `review` is the work at a queue, with `mending` and `labels`;
`panel`, `table` and `clicks` are Qt.
"""
