"""Garbage collection in a process that serves."""

import gc


def spare_the_collector() -> None:
    """Take what was loaded at start out of garbage collection, and collect the young less often.

    A dispatch makes objects that die by reference count; with the defaults, looking through them costs a tenth of its CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
