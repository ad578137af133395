"""Delivering what is due: at least once, with the alert's id for the receiver to know it again by.

An alert that cannot be delivered is tried again, ever later, for a day.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.core.mail import send_mail
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from dispatch_app.alerts.kinds import DeliveryState
from dispatch_app.alerts.secrets import open_secret
from dispatch_app.alerts.webhook import NotDeliveredError, Post, send_post
from dispatch_app.models import Alert, AlertDelivery
from dispatch_app.providers.transport import Transport
from policies_app.sealing import UnsealError

BATCH = 32
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=1)

Result = NotDeliveredError | None


def deliver_due() -> int:
    """Try everything that is due once; answers how many deliveries that was. One run at a time: see the task's lock."""
    started_at = timezone.now()
    tried = 0
    while due := _due(before=started_at):
        for delivery, result in zip(due, _deliver(due), strict=True):
            _note(delivery, result)
        tried += len(due)
    return tried


def payload_of(alert: Alert) -> dict[str, object]:
    """What a webhook is sent."""
    return {
        "id": str(alert.pk),
        "kind": alert.kind,
        "title": alert.title,
        "tenant": alert.tenant.name if alert.tenant else None,
        "details": alert.details,
        "created_at": alert.created_at,
    }


def _due(*, before: datetime) -> list[AlertDelivery]:
    pending = AlertDelivery.objects.filter(state=DeliveryState.PENDING, next_try_at__lte=before)
    return list(pending.select_related("alert__tenant", "destination").order_by("next_try_at", "pk")[:BATCH])


def _deliver(due: Sequence[AlertDelivery]) -> list[Result]:
    """Webhooks at once, so that one that hangs holds nobody up for longer than itself; letters one by one."""
    webhooks = [delivery for delivery in due if delivery.destination.webhook_url]
    posted = dict(zip((delivery.pk for delivery in webhooks), _post(webhooks), strict=True))
    return [posted[delivery.pk] if delivery.pk in posted else _send_letter(delivery) for delivery in due]


def _post(deliveries: Sequence[AlertDelivery]) -> list[Result]:
    posts = [_post_of(delivery) for delivery in deliveries]
    return asyncio.run(_post_all(posts)) if posts else []


async def _post_all(posts: Sequence[Post | NotDeliveredError]) -> list[Result]:
    timestamp = int(timezone.now().timestamp())
    async with Transport() as transport:

        async def attempt(post: Post | NotDeliveredError) -> Result:
            if isinstance(post, NotDeliveredError):
                return post
            try:
                await send_post(post, transport=transport, timestamp=timestamp)
            except NotDeliveredError as error:
                return error
            return None

        return list(await asyncio.gather(*map(attempt, posts)))


def _post_of(delivery: AlertDelivery) -> Post | NotDeliveredError:
    try:
        secret = open_secret(delivery.destination)
    except UnsealError as error:
        return NotDeliveredError(str(error))
    return Post(
        url=delivery.destination.webhook_url,
        allow_private_network=delivery.destination.allow_private_network,
        secret=secret,
        delivery_id=str(delivery.alert_id),
        body=json.dumps(payload_of(delivery.alert), cls=DjangoJSONEncoder).encode(),
    )


def _send_letter(delivery: AlertDelivery) -> Result:
    subject = " ".join(f"[Signalbox] {delivery.alert.title}".split())
    try:
        send_mail(subject, _letter(delivery.alert), None, [delivery.destination.email])
    except OSError as error:  # what smtplib raises descends from it
        return NotDeliveredError(f"The mail server did not take it ({type(error).__name__}).")
    return None


def _letter(alert: Alert) -> str:
    facts = [f"{name.replace('_', ' ')}: {value}" for name, value in alert.details.items()]
    about = [f"Tenant: {alert.tenant.name}"] if alert.tenant else []
    raised = f"{alert.created_at:%Y-%m-%d %H:%M:%S} UTC"
    return "\n".join([alert.title, "", *about, *facts, "", f"Raised at {raised}, alert {alert.pk}."])


def _note(delivery: AlertDelivery, result: Result) -> None:
    delivery.tries += 1
    now = timezone.now()
    if result is None:
        delivery.state, delivery.delivered_at, delivery.last_error = DeliveryState.DELIVERED, now, ""
    else:
        delivery.last_error = str(result)[:200]
        delivery.next_try_at = now + _delay(delivery.tries)
        if delivery.next_try_at > delivery.alert.created_at + GIVE_UP_AFTER:
            delivery.state = DeliveryState.FAILED
    delivery.save(update_fields=["state", "tries", "next_try_at", "delivered_at", "last_error"])


def _delay(tries: int) -> timedelta:
    doublings = min(tries - 1, 10)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)
