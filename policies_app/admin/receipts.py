"""What an edit has reached: told to whoever made it, once it is committed."""

from policies_app.services.kill_switches import Acknowledgements, current_epoch, wait_for_acknowledgement


def receipt_in_words() -> str:
    """Wait until the serving processes have the latest edit, two seconds at most, and say how many do."""
    return describe(wait_for_acknowledgement(epoch=current_epoch()))


def describe(receipt: Acknowledgements) -> str:
    """The receipt as a sentence."""
    if receipt.total == 0:
        return "No process serves requests at the moment."
    reached = f"{receipt.acknowledged} of {receipt.total} processes"
    if receipt.seconds is None:
        return f"{reached} serve with it."
    return f"{reached} in {receipt.seconds:.1f} s."
