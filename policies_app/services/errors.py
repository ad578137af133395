"""What a service refuses to do, in words for the person who asked."""


class ServiceError(Exception):
    """A service could not do what was asked. `str(error)` is a sentence for that person; nothing was changed."""


class SecondPersonNeededError(ServiceError):
    """It takes somebody else than whoever began it."""
