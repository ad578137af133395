"""What an edit has reached: told to whoever made it, once it is committed."""

from policies_app.services.kill_switches import current_epoch, wait_for_acknowledgement


def receipt_in_words() -> str:
    """Wait until the serving processes have the latest edit, two seconds at most, and say how many do."""
    return str(wait_for_acknowledgement(epoch=current_epoch()))
