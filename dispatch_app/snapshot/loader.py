"""Reads all that the data plane serves from into one `Snapshot`. Blocking: runs in a thread, off the event loop."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection, transaction
from django.db.models import Prefetch
from django.utils import timezone

from dispatch_app.execution.ports import NO_CREDENTIAL, Credential
from dispatch_app.providers.adapter import load_format
from dispatch_app.snapshot.types import (
    RateLimits,
    ServedBudget,
    ServedKey,
    ServedKillSwitch,
    ServedPolicy,
    ServedProvider,
    ServedRaise,
    ServedRateLimit,
    ServedTenant,
    Snapshot,
)
from policies_app.models import (
    ApiKey,
    Budget,
    BudgetRaise,
    KillSwitch,
    Policy,
    PolicyVersion,
    Provider,
    QualityScore,
    RateLimit,
    Tenant,
)
from policies_app.models import Credential as CredentialRow
from policies_app.routing.codes import (
    BudgetAction,
    BudgetPeriod,
    BudgetScope,
    KillScope,
    RateLimitKind,
    RateLimitScope,
    Tier,
    WireFormat,
)
from policies_app.routing.compilation import compile_policy, direct_policies
from policies_app.routing.document import DocumentError, PolicyDocument, load
from policies_app.routing.types import Catalogue, DowngradeStep, Judges
from policies_app.services.catalogue import read_catalogue
from policies_app.services.credentials import name_of, read_secret
from policies_app.services.drafts import draft_document, policies_with_drafts, read_draft_fingerprints
from policies_app.services.judges import read_judges

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadVersion:
    """A published document as it was read; versions are immutable, so it is read once."""

    id: int
    number: int
    document: PolicyDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadDraft:
    """A draft as it was read, until its fingerprint changes. None if it is no document."""

    fingerprint: str
    document: PolicyDocument | None


class SnapshotLoader:
    """Loads snapshots, one at a time, and reads again only what was edited since the last one.

    One bad row never takes the rest down: a policy whose published document cannot be read keeps its last good one.
    """

    def __init__(self) -> None:
        self._versions: dict[int, _ReadVersion] = {}
        self._drafts: dict[int, _ReadDraft] = {}

    def load(self) -> Snapshot:
        """Return everything as of one instant of the database, and close the thread's connection to it.

        :raises django.db.Error: if the database is away.
        """
        try:
            with transaction.atomic():
                snapshot = self._read(_begin_at_one_instant())
        finally:
            connection.close()
        for provider, *_ in snapshot.providers.values():
            # Imported here, in a thread: the first request of a format would keep the event loop waiting for it.
            load_format(provider.wire_format)
        return snapshot

    def _read(self, epoch: int) -> Snapshot:
        catalogue, judges, limits = read_catalogue(), read_judges(), _rate_limits()
        policies = list(Policy.objects.only("name", "description", "tenant", "enabled", "live_version"))
        self._read_new_versions(policies)
        self._read_edited_drafts()
        return Snapshot(
            epoch=epoch,
            loaded_at=timezone.now(),
            keys={key.public_id: key for key in _keys(limits)},
            policies={policy.name: policy for policy in self._published(policies, catalogue, judges)},
            drafts={policy.name: policy for policy in self._drafted(policies, catalogue, judges)},
            catalogue=catalogue,
            direct=direct_policies(catalogue),
            providers=dict(_providers()),
            kill_switches=tuple(_kill_switches()),
            judges=judges,
            quality={
                (score.model.name, score.task): score.score
                for score in QualityScore.objects.select_related("model")
            },
            model_limits=limits[RateLimitScope.MODEL],
        )

    def _read_new_versions(self, policies: Iterable[Policy]) -> None:
        read = {version.id for version in self._versions.values()}
        live = [policy.live_version_id for policy in policies if policy.live_version_id is not None]
        unread = [version_id for version_id in live if version_id not in read]
        for version in PolicyVersion.objects.filter(pk__in=unread).select_related("policy"):
            self._read_version(version)

    def _read_version(self, version: PolicyVersion) -> None:
        try:
            document = load(version.document)
        except DocumentError:
            last_good = self._versions.get(version.policy_id)
            kept = f"version {last_good.number} stays" if last_good else "it is not served"
            logger.exception(
                "Version %d of policy %s cannot be read; %s.", version.number, version.policy, kept
            )
        else:
            self._versions[version.policy_id] = _ReadVersion(
                id=version.pk, number=version.number, document=document
            )

    def _published(
        self, policies: Iterable[Policy], catalogue: Catalogue, judges: Judges
    ) -> Iterator[ServedPolicy]:
        for policy in policies:
            version = self._versions.get(policy.pk)
            if version is not None and policy.live_version_id is not None and policy.enabled:
                yield _served(policy, version.document, version.number, catalogue, judges)

    def _read_edited_drafts(self) -> None:
        fingerprints = read_draft_fingerprints()
        known = {policy_id: draft.fingerprint for policy_id, draft in self._drafts.items()}
        edited = [policy_id for policy_id in fingerprints if fingerprints[policy_id] != known.get(policy_id)]
        for policy in policies_with_drafts().filter(pk__in=edited):
            self._drafts[policy.pk] = _ReadDraft(
                fingerprint=fingerprints[policy.pk], document=_readable_draft(policy)
            )

    def _drafted(
        self, policies: Iterable[Policy], catalogue: Catalogue, judges: Judges
    ) -> Iterator[ServedPolicy]:
        for policy in policies:
            document = self._drafts[policy.pk].document
            if document is not None:
                yield _served(policy, document, 0, catalogue, judges)


def load_snapshot() -> Snapshot:
    """Return a snapshot that no earlier one bears on; see `SnapshotLoader.load`."""
    return SnapshotLoader().load()


def _begin_at_one_instant() -> int:
    """Fix the transaction's view of the database, and return the epoch that it is of."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT value FROM control_epoch")
        return int(cursor.fetchone()[0])


def _readable_draft(policy: Policy) -> PolicyDocument | None:
    try:
        return draft_document(policy)
    except DocumentError as error:
        logger.info("The draft of policy %s is left out: %s.", policy, error)
        return None


def _served(
    policy: Policy, document: PolicyDocument, version: int, catalogue: Catalogue, judges: Judges
) -> ServedPolicy:
    return ServedPolicy(
        id=policy.pk,
        name=policy.name,
        description=policy.description,
        tenant_id=policy.tenant_id,
        compiled=compile_policy(document=document, version=version, catalogue=catalogue, judges=judges),
    )


_LimitsBySubject = Mapping[RateLimitScope, Mapping[int, RateLimits]]


def _rate_limits() -> _LimitsBySubject:
    """The limits of tenants, keys and models, by the id of each."""
    limits: dict[RateLimitScope, dict[int, RateLimits]] = {
        scope: defaultdict(tuple) for scope in RateLimitScope
    }
    for row in RateLimit.objects.filter(enabled=True).order_by("pk"):
        limit = ServedRateLimit(
            id=row.pk, scope=RateLimitScope(row.scope), kind=RateLimitKind(row.kind), most=row.limit
        )
        limits[limit.scope][getattr(row, f"{row.scope}_id")] += (limit,)
    return {scope: dict(by_subject) for scope, by_subject in limits.items()}


def _keys(limits: _LimitsBySubject) -> Iterator[ServedKey]:
    raises = Prefetch("budgets__raises", BudgetRaise.objects.standing())
    tenants = {tenant.pk: _tenant(tenant) for tenant in Tenant.objects.prefetch_related("budgets", raises)}
    for row in ApiKey.objects.prefetch_related("policies"):
        of_tenant = limits[RateLimitScope.TENANT].get(row.tenant_id, ())
        met = of_tenant + limits[RateLimitScope.API_KEY].get(row.pk, ())
        yield ServedKey(
            id=row.pk,
            public_id=row.public_id,
            secret_hmac=bytes(row.secret_hmac),
            tenant=tenants[row.tenant_id],
            enabled=row.enabled,
            expires_at=row.expires_at,
            policies=frozenset(policy.name for policy in row.policies.all()) or None,
            may_call_models=row.may_call_models,
            may_explain_drafts=row.may_explain_drafts,
            door_limits=tuple(limit for limit in met if limit.kind is not RateLimitKind.TOKENS_PER_MINUTE),
            token_limits=tuple(limit for limit in met if limit.kind is RateLimitKind.TOKENS_PER_MINUTE),
        )


def _tenant(row: Tenant) -> ServedTenant:
    budgets = sorted((budget for budget in row.budgets.all() if budget.enabled), key=lambda budget: budget.pk)
    return ServedTenant(
        id=row.pk,
        name=row.name,
        zone=_zone(row),
        enabled=row.enabled,
        budgets=tuple(_budget(budget) for budget in budgets),
        replays_answers=row.replay_answers,
    )


def _zone(row: Tenant) -> ZoneInfo:
    try:
        return ZoneInfo(row.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        logger.error("Tenant %s has the unknown time zone %s; UTC is used.", row.name, row.time_zone)  # noqa: TRY400
        return ZoneInfo("UTC")


def _budget(row: Budget) -> ServedBudget:
    return ServedBudget(
        id=row.pk,
        name=row.name,
        scope=BudgetScope(row.scope),
        api_key_id=row.api_key_id,
        policy_id=row.policy_id,
        end_user=row.end_user,
        tag=_tag(row.tag) if row.tag else None,
        period=BudgetPeriod(row.period),
        month_begins_on=row.month_begins_on,
        limit_nanos=row.limit_nanos,
        action=BudgetAction(row.action),
        steps=tuple(_downgrade_steps(row)),
        shrink_to_tokens=row.shrink_to_tokens,
        raises=tuple(_raise(more) for more in row.raises.all()),
    )


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _downgrade_steps(row: Budget) -> Iterator[DowngradeStep]:
    for from_pct, tier in ((row.mid_from_pct, Tier.MID), (row.small_from_pct, Tier.SMALL)):
        if from_pct is not None:
            yield DowngradeStep(from_pct=from_pct, highest_tier=tier)


def _raise(row: BudgetRaise) -> ServedRaise:
    return ServedRaise(amount_nanos=row.amount_nanos, starts_at=row.starts_at, ends_at=row.ends_at)


def _providers() -> Iterator[tuple[int, tuple[ServedProvider, ...]]]:
    """By id: each provider, once for every credential that it can be called with."""
    for row in Provider.objects.prefetch_related("credentials"):
        yield row.pk, tuple(_as_called(row, called) for called in _credentials(row))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """What a provider is called with."""

    credential: Credential
    secret: str | None = field(default=None, repr=False)
    lacks_secret: bool = False


def _credentials(row: Provider) -> Sequence[_Called]:
    """Those whose secret is to be had. Where none is, although there are some, calls are refused instead of going without."""
    rows = sorted(row.credentials.all(), key=lambda credential: credential.pk)
    readings = [(enabled, read_secret(credential=enabled)) for enabled in rows if enabled.enabled]
    for enabled, reading in readings:
        if reading.problem:
            logger.error("Credential %s is out of service: %s.", enabled, reading.problem)
    usable = [
        _Called(credential=_credential(known, reading.last_four), secret=reading.secret)
        for known, reading in readings
        if reading.secret is not None
    ]
    if usable or not rows:
        return usable or [_Called(credential=NO_CREDENTIAL)]
    first, problem = next(((known, reading.problem) for known, reading in readings), (rows[0], "disabled"))
    return [
        _Called(
            credential=Credential(id=first.pk, name=f"{first.label} ({problem})", weight=first.weight),
            lacks_secret=True,
        )
    ]


def _credential(row: CredentialRow, last_four: str) -> Credential:
    return Credential(id=row.pk, name=name_of(row, last_four=last_four), weight=row.weight)


def _as_called(row: Provider, called: _Called) -> ServedProvider:
    return ServedProvider(
        id=row.pk,
        name=row.name,
        wire_format=WireFormat(row.wire_format),
        base_url=row.base_url,
        allow_private_network=row.allow_private_network,
        connect_timeout_ms=row.connect_timeout_ms,
        first_byte_timeout_ms=row.first_byte_timeout_ms,
        idle_timeout_ms=row.idle_timeout_ms,
        bills_server_errors=row.bills_server_errors,
        region=row.region,
        api_version=row.api_version,
        credential=called.credential,
        secret=called.secret,
        lacks_secret=called.lacks_secret,
    )


def _kill_switches() -> Iterator[ServedKillSwitch]:
    switches = KillSwitch.objects.active().select_related("provider", "model", "policy", "tenant", "api_key")
    for row in switches.order_by("pk"):
        yield ServedKillSwitch(
            id=row.pk,
            scope=KillScope(row.scope),
            provider=row.provider.name if row.provider else "",
            model=row.model.name if row.model else "",
            policy=row.policy.name if row.policy else "",
            rule=row.rule_name,
            tenant=row.tenant.name if row.tenant else "",
            api_key=row.api_key.public_id if row.api_key else "",
            end_user=row.end_user,
            reason=row.reason,
            hard=row.hard,
            expires_at=row.expires_at,
        )
