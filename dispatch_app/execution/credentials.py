"""Which of a provider's credentials a dispatch goes with, and which next. Pure; no chance but that of the subject.

Weighted rendezvous hashing: every credential draws a lot for the subject, the better the higher its weight. Over many
subjects each gets its share of the calls, and one that comes or goes moves no other's.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import log

from dispatch_app.execution.order import Order
from dispatch_app.execution.ports import Credential


def subject_of(order: Order) -> str:
    """Whom a credential is chosen for: the end user, because vendors keep prompt caches by account; else this dispatch alone."""
    facts = order.facts
    return str(order.seed) if facts.end_user is None else f"{facts.tenant}/{facts.end_user}"


def in_order(credentials: Sequence[Credential], *, subject: str) -> Sequence[Credential]:
    """The credentials in the order in which they are asked for that subject."""
    if len(credentials) < 2:
        return credentials
    return sorted(credentials, key=lambda credential: _lot(credential, subject))


def _lot(credential: Credential, subject: str) -> float:
    """Exponentially distributed, at the rate of the weight: the least of several is each one's as often as its weight says."""
    digest = blake2b(f"{credential.id}/{subject}".encode(), digest_size=8).digest()
    return -log((int.from_bytes(digest) + 1) / (2**64 + 1)) / credential.weight
