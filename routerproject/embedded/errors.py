"""Why an installation is not up."""


class NotStartedError(Exception):
    """Something did not come up; the message says what and why in one line."""


class FolderInUseError(Exception):
    """Another process holds the state folder."""
