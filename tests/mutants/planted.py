"""The faults that are planted into the code, one at a time, and the tests that have to notice.

Each replaces a text that occurs exactly once in its file, which the suite checks, so that the list cannot go stale.
"""

from dataclasses import dataclass

EXECUTION = ("tests/dispatch_app/execution",)
ROUTING = (
    "tests/policies_app/routing",
    # It fails on a machine that is busy too, and would claim what it did not catch.
    "--deselect=tests/policies_app/routing/test_purity.py::test_deciding_grows_gently_with_the_number_of_rules",
)
LEDGER = ("tests/dispatch_app/ledger",)
RAISES = ("tests/dispatch_app/ledger/test_raises.py",)
KEYS = ("tests/dispatch_app/ledger/test_idempotency.py",)
PROVIDERS = ("tests/dispatch_app/providers",)
SITUATION = ("tests/dispatch_app/snapshot/test_situation.py",)
STORM = ("tests/faults/test_retry_storm.py",)
MATRIX = ("tests/faults/test_fault_matrix.py",)
CHAOS = ("tests/chaos",)
DRAIN = ("tests/dispatch_app/rollups/test_drain.py",)
GATEWAY = ("tests/dispatch_app/gateway",)
SLOW_READERS = ("tests/wire/test_slow_readers.py",)
HOLDER = ("tests/dispatch_app/snapshot/test_holder.py",)
LIMITS = ("tests/dispatch_app/limits",)
LIMITS_WIRE = ("tests/wire/test_rate_limits.py",)
PRICES = ("tests/policies_app/price_catalogue", "tests/policies_app/services/test_price_imports.py")
GEMINI_WIRE = ("tests/wire/test_gemini_behind.py",)

_EXECUTION = "dispatch_app/execution"
_ATTEMPTS = f"{_EXECUTION}/attempts.py"
_CALLS = f"{_EXECUTION}/calls.py"
_RESERVATIONS = f"{_EXECUTION}/reservations.py"
_ONWARD = f"{_EXECUTION}/onward.py"
_BREAKER = f"{_EXECUTION}/breaker.py"
_STRATEGIES = f"{_EXECUTION}/strategies"
_ROUTING = "policies_app/routing"
_TRANSLATION = "policies_app/price_catalogue/translation.py"
_LEDGER_SQL = "dispatch_app/ledger/sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted fault: in `path`, `search` becomes `replace`. `tests` are those that ought to notice."""

    name: str
    path: str
    search: str
    replace: str
    tests: tuple[str, ...]


_ENVELOPE = (
    Mutant(
        name="a stream is retried after its first byte",
        path=_ONWARD,
        search="if self._attempts.delivered.has_begun and not self._can_continue(error):",
        replace="if False:",
        tests=EXECUTION,
    ),
    Mutant(
        name="a continuation is made without leave",
        path=_ONWARD,
        search="may_be = order.plan.continue_broken_streams and order.request.choices == 1",
        replace="may_be = order.request.choices == 1",
        tests=EXECUTION,
    ),
    Mutant(
        name="visited targets are asked again",
        path=f"{_EXECUTION}/targets.py",
        search="        source.remove(entry)\n        entry.tried.add(target.credential.id)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="the bound on attempts is ignored",
        path=f"{_EXECUTION}/envelope.py",
        search="        self._attempts_left -= 1\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="the deadline is ignored between attempts",
        path=f"{_EXECUTION}/envelope.py",
        search="return self._attempts_left <= 0 or self.remaining_s <= 0",
        replace="return self._attempts_left <= 0",
        tests=EXECUTION,
    ),
    Mutant(
        name="a timer that wakes before the deadline begins another attempt",
        path=f"{_EXECUTION}/envelope.py",
        search="return left_s if left_s > TIMERS_ARE_EARLY_S else 0.0",
        replace="return max(0.0, left_s)",
        tests=EXECUTION,
    ),
    Mutant(
        name="what is admitted after the deadline is sent all the same",
        path=_ATTEMPTS,
        search="        if self._is_over() or self.envelope.remaining_s <= 0:\n",
        replace="        if self._is_over():\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="the time that posting takes is not noticed",
        path=_RESERVATIONS,
        search="        if self._envelope.remaining_s <= 0:\n",
        replace="        if False:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="the deadline is ignored within an attempt",
        path="dispatch_app/providers/upstream.py",
        search="self._expires_at = min(self._deadline_at, self._clock() + first_byte_s)",
        replace="self._expires_at = self._clock() + first_byte_s",
        tests=PROVIDERS,
    ),
    Mutant(
        name="the deadline is ignored within a reply",
        path="dispatch_app/providers/upstream.py",
        search="self._expires_at = min(self._deadline_at, self._clock() + self._idle_s)",
        replace="self._expires_at = self._clock() + self._idle_s",
        tests=PROVIDERS,
    ),
    Mutant(
        name="the bound on money is ignored",
        path=f"{_EXECUTION}/envelope.py",
        search="return self._nanos_left is None or bound_nanos <= self._nanos_left",
        replace="return True",
        tests=EXECUTION,
    ),
    Mutant(
        name="the caller can lengthen the rule's deadline",
        path="dispatch_app/gateway/admission.py",
        search="else min(plan.deadline_ms, timeout_ms)",
        replace="else timeout_ms",
        tests=(*MATRIX, "-k", "failover and plain and alone"),
    ),
    Mutant(
        name="what the vendor rejects goes on to the next model",
        path=f"{_EXECUTION}/errors.py",
        search="    fault = FaultClass.BAD_REQUEST\n    fails_over = False\n",
        replace="    fault = FaultClass.BAD_REQUEST\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a prompt that is too long goes on without leave",
        path=_ONWARD,
        search="(by_leave and isinstance(error, ContextTooLongError))",
        replace="isinstance(error, ContextTooLongError)",
        tests=EXECUTION,
    ),
    Mutant(
        name="Retry-After is ignored by a retry",
        path=_ONWARD,
        search="wait_s = error.retry_after_s + jitter_s",
        replace="wait_s = jitter_s",
        tests=EXECUTION,
    ),
    Mutant(
        name="a rate limit beyond the deadline is waited out",
        path=_ONWARD,
        search="return wait_s if wait_s < min(MOST_WAIT_S, self._attempts.envelope.remaining_s) else None",
        replace="return wait_s",
        tests=EXECUTION,
    ),
    Mutant(
        name="retries need no budget",
        path=f"{_EXECUTION}/retry_budget.py",
        search="        if not self.left(now=now):\n            self.refused += 1\n            return False\n",
        replace="",
        tests=(*EXECUTION, *STORM),
    ),
    Mutant(
        name="the same target is retried without end",
        path=_ONWARD,
        search="        self._retried.add(target.model.name)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a stream without choices is an answer",
        path=_CALLS,
        search="                reception.end()\n",
        replace="",
        tests=EXECUTION,
    ),
)

_STREAMS = (
    Mutant(
        name="[DONE] after a truncation",
        path="dispatch_app/providers/upstream.py",
        search="    raise TruncatedError(wire_status=200)\n\n\nasync def _linger",
        replace="\n\nasync def _linger",
        tests=PROVIDERS,
    ),
    Mutant(
        name="[DONE] behind the terminal error event",
        path="dispatch_app/gateway/chat.py",
        search="            return self._renderer.error(item)\n",
        replace='            return self._renderer.error(item) + b"data: [DONE]\\n\\n"\n',
        tests=(*MATRIX, "-k", "failover and stream and alone"),
    ),
    Mutant(
        name="a stream ends before it is settled",
        path=f"{_EXECUTION}/forwarding.py",
        search="        if self._unfinished > 0:\n",
        replace="        if True:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a cascade forwards what is not validated yet",
        path=f"{_STRATEGIES}/cascade.py",
        search="return Delivery.BUFFERED if as_asked is Delivery.DIRECT and candidate.validators else as_asked",
        replace="return as_asked",
        tests=EXECUTION,
    ),
    Mutant(
        name="what lost a race is no waste",
        path=f"{_EXECUTION}/conclusion.py",
        search="_CUT_HERE = frozenset({FaultClass.SUPERSEDED, ",
        replace="_CUT_HERE = frozenset({",
        tests=EXECUTION,
    ),
    Mutant(
        name="the answer is waste, too",
        path=f"{_EXECUTION}/postings.py",
        search="            if attempt is not given and item.is_waste\n",
        replace="            if item.is_waste\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="waste of a dispatch that ends without an attempt is lost",
        path="dispatch_app/ledger/sql/finish.sql",
        search="sum(coalesce(baseline_cost_nanos, 0)), sum(wasted_nanos)\n",
        replace="sum(coalesce(baseline_cost_nanos, 0)), 0\n",
        tests=("tests/dispatch_app/ledger/test_waste.py",),
    ),
    Mutant(
        name="a client that does not read keeps what waits for it",
        path="routerproject/connections.py",
        search="        self._look_later()\n\n    def resume_writing",
        replace="\n    def resume_writing",
        tests=SLOW_READERS,
    ),
    Mutant(
        name="a client that reads slowly counts as gone",
        path="routerproject/connections.py",
        search="        return self.transport.get_write_buffer_size() + in_kernel[0]\n",
        replace="        return self.transport.get_write_buffer_size()\n",
        tests=SLOW_READERS,
    ),
    Mutant(
        name="a client that is behind is waited for past the deadline",
        path=f"{_EXECUTION}/forwarding.py",
        search="            async with asyncio.timeout_at(self._deadline_at):\n",
        replace="            async with asyncio.timeout(5):\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="an answer is read on for ever",
        path=f"{_EXECUTION}/running.py",
        search="            attempt.cut.within(ClientGoneError(wire_status=200), in_s=drain_s)\n",
        replace="            if not drain_s:\n                attempt.cut.now(ClientGoneError(wire_status=200))\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="any number of answers is read on at once",
        path=f"{_EXECUTION}/drains.py",
        search="        self._left -= 1\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a client that comes back late takes the rest for a whole answer",
        path="dispatch_app/gateway/streaming.py",
        search="self._queue.put_nowait(ClientGoneError().as_dispatch_error() if self.is_abandoned else item)",
        replace="self._queue.put_nowait(item)",
        tests=GATEWAY,
    ),
    Mutant(
        name="a client that leaves once all was said is waited for",
        path="dispatch_app/gateway/streaming.py",
        search="            has_ended = not isinstance(self._queue.get_nowait(), StreamPart)\n",
        replace="            self._queue.get_nowait()\n",
        tests=GATEWAY,
    ),
    Mutant(
        name="a stream of a response forgets what was thought",
        path="dispatch_app/gateway/responses_stream.py",
        search='            opened.thoughts.append(ChunkChoice(delta={"thinking_blocks": thoughts}))\n',
        replace="            del opened\n",
        tests=GATEWAY,
    ),
    Mutant(
        name="what OpenAI writes to a cache is other input",
        path="dispatch_app/providers/openai_chat.py",
        search="        cache_write_tokens=written,\n",
        replace="",
        tests=PROVIDERS,
    ),
    Mutant(
        name="a client that hung up is served on",
        path=_ATTEMPTS,
        search="        sink.on_abandoned(self.hang_up)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="an error event in a stream is an empty part",
        path="dispatch_app/providers/openai_chat.py",
        search='if chunk.error is not None or event.name == b"error":',
        replace="if False:",
        tests=PROVIDERS,
    ),
)

_LOCK = "    PERFORM FROM budget_balance WHERE id = ANY (balance_ids) ORDER BY id FOR NO KEY UPDATE;\n"
_LOOK = """
    -- No limit for a soft budget and for one that was deleted. The limit of this moment counts, whatever was granted before.
    SELECT coalesce(array_agg(allowed.nanos ORDER BY asked.slot), '{}'),
           coalesce(array_agg(balance.settled_nanos + balance.reserved_nanos + balance.overage_nanos ORDER BY asked.slot), '{}'),
           coalesce(bool_and(asked.nanos = 0 OR asked.nanos <= allowed.nanos - balance.settled_nanos - balance.reserved_nanos
                                                             - balance.overage_nanos), true)
      INTO limits, used, fits
      FROM unnest(balance_ids, wanted) WITH ORDINALITY AS asked (id, nanos, slot)
      LEFT JOIN budget_balance AS balance ON balance.id = asked.id
      LEFT JOIN policies_app_budget AS budget ON budget.id = balance.budget_id
      LEFT JOIN LATERAL (
               SELECT budget_limit_nanos(budget, clock_timestamp()) AS nanos
                WHERE balance.granted_nanos IS NOT NULL AND budget.action <> 'alert' AND budget.enabled
           ) AS allowed ON true;
"""

_LEDGER = (
    Mutant(
        name="the attempt begins after the vendor was asked",
        path=_RESERVATIONS,
        search="            answer = await self._ports.ledger.begin(",
        replace=(
            "            await self._ports.upstream.complete(attempt.call(stream=False))\n"
            "            answer = await self._ports.ledger.begin("
        ),
        tests=EXECUTION,
    ),
    Mutant(
        name="the answer goes out before it is settled",
        path=f"{_EXECUTION}/postings.py",
        search="        are_settled = await asyncio.gather(*posting) if len(posting) > 1 else [await only for only in posting]\n",
        replace=(
            "        self._early = [asyncio.ensure_future(only) for only in posting]\n"
            "        are_settled = [True for _ in posting]\n"
        ),
        tests=EXECUTION,
    ),
    Mutant(
        name="an attempt that was refused is made all the same",
        path=_RESERVATIONS,
        search="            case Verdict.ADMITTED:\n",
        replace="            case Verdict.ADMITTED | Verdict.OVER_BUDGET:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a kill switch is ignored by the executor",
        path=_RESERVATIONS,
        search="            case Verdict.ADMITTED:\n",
        replace="            case Verdict.ADMITTED | Verdict.KILLED:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="nothing is reserved where the price is unknown",
        path=f"{_ROUTING}/screening.py",
        search="        if price is None:\n            return DroppedCandidate(model=model.name, reason=DropReason.NO_PRICE)\n",
        replace="        if price is None:\n            price = model.prices[0]\n",
        tests=ROUTING,
    ),
    Mutant(
        name="the reservation leaves out the dearest bucket",
        path=f"{_ROUTING}/types.py",
        search="        dearest_output_nanos = max(self.output_nanos, self.reasoning_nanos)\n",
        replace="        dearest_output_nanos = self.output_nanos\n",
        tests=ROUTING,
    ),
    Mutant(
        name="float money",
        path=f"{_ROUTING}/money.py",
        search="    return -(-nanos // TOKENS_PER_PRICE)\n",
        replace="    return round(nanos / TOKENS_PER_PRICE)\n",
        tests=ROUTING,
    ),
    Mutant(
        name="losers are not charged",
        path=f"{_EXECUTION}/settlement.py",
        search="    if not error.is_billable:\n        return NOTHING\n",
        replace="    if not error.is_billable or isinstance(error, StoppedError):\n        return NOTHING\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="what is cut is charged by what came also where the vendor goes on",
        path=f"{_EXECUTION}/settlement.py",
        search="received_bytes is not None and not candidate.model.bills_after_cut:",
        replace="received_bytes is not None:",
        tests=EXECUTION,
    ),
    Mutant(
        name="thoughts that nobody asked for and nobody saw cost nothing",
        path="dispatch_app/providers/gemini/reply.py",
        search="        self._untold_tokens += more\n",
        replace="        pass\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="what is cut before the first word was not thought about",
        path=f"{_EXECUTION}/attempt.py",
        search="return self.first_byte_at is not None or self.candidate.model.wire_format not in THINKS_UNASKED",
        replace="return True",
        tests=GEMINI_WIRE,
    ),
    Mutant(
        name="a report from the middle of an answer that broke off is the cost",
        path=f"{_EXECUTION}/forwarding.py",
        search="return self.usage if len(self._finished) >= self.attempt.request.choices else None",
        replace="return self.usage",
        tests=EXECUTION,
    ),
    Mutant(
        name="a vendor's silence costs nothing",
        path=f"{_EXECUTION}/settlement.py",
        search="    if usage is None or not _is_countable(usage):\n        return _charge_bound(candidate, facts)\n",
        replace="    if usage is None or not _is_countable(usage):\n        return NOTHING\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="negative usage is believed",
        path=f"{_EXECUTION}/settlement.py",
        search="    return min(counts) >= 0 and max(counts) < 2**40\n",
        replace="    return max(counts) < 2**40\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="usage above the bound is believed",
        path=f"{_EXECUTION}/settlement.py",
        search="    if cost > candidate.bound_nanos:\n        return _charge_bound(candidate, facts)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="judges are not on the bill",
        path=f"{_EXECUTION}/validation.py",
        search="        self._attempts.post(answer)\n        return answer\n",
        replace="        self._attempts.void(attempt)\n        return answer\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="no lock on balances before they are read",
        path=f"{_LEDGER_SQL}/begin.sql",
        search=_LOCK,
        replace="",
        tests=LEDGER,
    ),
    Mutant(
        name="the budget is looked at before the lock",
        path=f"{_LEDGER_SQL}/begin.sql",
        search=_LOCK + _LOOK,
        replace=_LOOK + _LOCK,
        tests=LEDGER,
    ),
    Mutant(
        name="balances are locked in the order in which they came",
        path=f"{_LEDGER_SQL}/begin.sql",
        search=_LOCK,
        replace=(
            "    PERFORM FROM budget_balance WHERE id = ANY (balance_ids)"
            " ORDER BY array_position(balance_ids, id) FOR NO KEY UPDATE;\n"
        ),
        tests=LEDGER,
    ),
    Mutant(
        name="a settlement locks balances in the order in which they came",
        path=f"{_LEDGER_SQL}/settle.sql",
        search="    PERFORM FROM budget_balance WHERE id = ANY (touched_ids) ORDER BY id FOR NO KEY UPDATE;\n",
        replace=(
            "    PERFORM FROM budget_balance WHERE id = ANY (touched_ids) ORDER BY id DESC FOR NO KEY UPDATE;\n"
        ),
        tests=LEDGER,
    ),
    Mutant(
        name="commits are acknowledged before they are on the disk",
        path="dispatch_app/ledger/lane.py",
        search='                application_name=f"signalbox-{self._name}",\n',
        replace=(
            '                application_name=f"signalbox-{self._name}",\n'
            '                options="-c synchronous_commit=off",\n'
        ),
        tests=(*CHAOS, "-k", "acknowledged"),
    ),
    Mutant(
        name="buckets are taken for computed before they are",
        path="dispatch_app/rollups/drain.py",
        search='    with transaction.atomic():\n        claimed = fetch("claim_dirty"',
        replace='    if True:\n        claimed = fetch("claim_dirty"',
        tests=DRAIN,
    ),
    Mutant(
        name="deltas are counted by more than one drain",
        path="dispatch_app/rollups/statements.sql",
        search="    DELETE FROM rollup_delta AS delta USING locked WHERE delta.id = locked.id RETURNING delta.*\n",
        replace="    SELECT delta.* FROM rollup_delta AS delta JOIN locked USING (id)\n",
        tests=(*DRAIN, "-k", "one_kind"),
    ),
    Mutant(
        name="the figures' watermark goes by the newest id",
        path="dispatch_app/rollups/statements.sql",
        search=" WHERE NOT EXISTS (SELECT FROM rollup_delta WHERE id <= %(newest_id)s)\n",
        replace=" WHERE %(newest_id)s IS NOT NULL\n",
        tests=DRAIN,
    ),
    Mutant(
        name="the sweep's watermark passes what is open",
        path=f"{_LEDGER_SQL}/expire.sql",
        search="               (SELECT min(created_at) FROM attempt WHERE created_at >= since AND state = 'open'),\n",
        replace="",
        tests=LEDGER,
    ),
    Mutant(
        name="the sweep gives back in place of charging",
        path=f"{_LEDGER_SQL}/expire.sql",
        search="'response_model', '', 'cost_nanos', lost.reserved_nanos, 'estimated', true,",
        replace="'response_model', '', 'cost_nanos', 0, 'estimated', true,",
        tests=LEDGER,
    ),
    Mutant(
        name="the sweep ends what another attempt may still answer",
        path=f"{_LEDGER_SQL}/expire.sql",
        search="                                           OR other.state = 'open' AND other.expires_at >= at)) AS is_last\n",
        replace="                                           )) AS is_last\n",
        tests=LEDGER,
    ),
    Mutant(
        name="a dispatch that the sweep has ended begins a further attempt",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="AND (item.dispatch ->> 'id')::uuid = ANY (ended) THEN",
        replace="AND false THEN",
        tests=LEDGER,
    ),
    Mutant(
        name="a further attempt does not wait for the sweep",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="                   FOR KEY SHARE OF dispatch) AS known;\n",
        replace="               ) AS known;\n",
        tests=LEDGER,
    ),
    Mutant(
        name="a sweep by a clock that ran ahead hides what is to come",
        path=f"{_LEDGER_SQL}/expire.sql",
        search="               least(at, clock_timestamp()) - interval '5 minutes',\n",
        replace="               at - interval '5 minutes',\n",
        tests=LEDGER,
    ),
    Mutant(
        name="settling twice posts twice",
        path=f"{_LEDGER_SQL}/settle.sql",
        search="           AND attempt.id = ANY (ARRAY(SELECT attempt_id FROM item))\n           AND attempt.state = 'open'\n",
        replace="           AND attempt.id = ANY (ARRAY(SELECT attempt_id FROM item))\n",
        tests=LEDGER,
    ),
    Mutant(
        name="the ledger ignores kill switches",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="            IF verdict = 'admitted' AND any_switch THEN\n",
        replace="            IF false THEN\n",
        tests=LEDGER,
    ),
    Mutant(
        name="a batch is admitted as a whole, whatever is left",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="    IF fits AND NOT any_switch AND NOT in_doubt",
        replace="    IF NOT any_switch AND NOT in_doubt",
        tests=LEDGER,
    ),
    Mutant(
        name="what a whole batch wants is told too low",
        path="dispatch_app/ledger/wire.py",
        search="            budgets[key].wanted_nanos += wanted_nanos\n",
        replace="            budgets[key].wanted_nanos = wanted_nanos\n",
        tests=(*LEDGER, "tests/simulation/test_accounts.py"),
    ),
    Mutant(
        name="a raise counts past its end",
        path=f"{_LEDGER_SQL}/limits.sql",
        search="           AND (running.ends_at IS NULL OR running.ends_at > at)), 0));\n",
        replace="           ), 0));\n",
        tests=RAISES,
    ),
    Mutant(
        name="a raise counts before its second person",
        path=f"{_LEDGER_SQL}/limits.sql",
        search="           AND (running.confirmed_at IS NOT NULL OR NOT running.needs_second_person)\n",
        replace="",
        tests=RAISES,
    ),
    Mutant(
        name="what was granted under a raise is not kept",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="THEN greatest(balance.granted_nanos, sums.limit_nanos) END",
        replace="THEN balance.granted_nanos END",
        tests=RAISES,
    ),
    Mutant(
        name="an idempotency key binds nobody",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="            IF NOT claims[cardinality(verdicts) + 1] THEN\n",
        replace="            IF false THEN\n",
        tests=KEYS,
    ),
    Mutant(
        name="a refused dispatch keeps its idempotency key",
        path=f"{_LEDGER_SQL}/begin.sql",
        search="    IF lost_key THEN\n",
        replace="    IF false THEN\n",
        tests=KEYS,
    ),
    Mutant(
        name="what expired is run again under its idempotency key",
        path=f"{_LEDGER_SQL}/idempotency.sql",
        search="AND idempotency_state(held.dispatch_id, held.dispatch_created_at) = 'failed_before_send') THEN",
        replace="AND idempotency_state(held.dispatch_id, held.dispatch_created_at) <> 'in_flight') THEN",
        tests=KEYS,
    ),
    Mutant(
        name="an idempotency key is looked up for any tenant",
        path=f"{_LEDGER_SQL}/idempotency.sql",
        search="ON held.tenant_id = wanted.tenant_id AND held.api_key_id",
        replace="ON held.api_key_id",
        tests=KEYS,
    ),
)

_STRATEGY = (
    Mutant(
        name="an escalation does not need a failed validator",
        path=f"{_STRATEGIES}/cascade.py",
        search="        if all(finding.passed for finding in findings):\n",
        replace="        if not all(finding.passed for finding in findings):\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="any passed validator is enough",
        path=f"{_STRATEGIES}/cascade.py",
        search="        if all(finding.passed for finding in findings):\n",
        replace="        if not findings or any(finding.passed for finding in findings):\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a validator's result is turned round",
        path=f"{_EXECUTION}/checks.py",
        search="            return finding(validator, passed=not problem, actual=problem)\n",
        replace="            return finding(validator, passed=bool(problem), actual=problem)\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="the last answer of a cascade is not marked",
        path=f"{_STRATEGIES}/cascade.py",
        search="        return Accepted(answer=rejected, validated=False)\n",
        replace="        return Accepted(answer=rejected, validated=None)\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="the last answer of a cascade counts as validated",
        path=f"{_STRATEGIES}/cascade.py",
        search="        return Accepted(answer=rejected, validated=False)\n",
        replace="        return Accepted(answer=rejected, validated=True)\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a rule that wants an error gets the last answer",
        path=f"{_STRATEGIES}/cascade.py",
        search="    if attempts.order.plan.when_none_passes is WhenNonePasses.RETURN_LAST:\n",
        replace="    if True:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="an unreadable judge gives full marks",
        path=f"{_EXECUTION}/validation.py",
        search="        score = judge.default if score is None else score\n",
        replace="        score = 1.0 if score is None else score\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a judge's prose is read for a number",
        path=f"{_EXECUTION}/judging.py",
        search="    match = _NUMBER.fullmatch(said)\n",
        replace="    match = _NUMBER.search(said)\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a judge sees the answers in the order of the steps",
        path=f"{_EXECUTION}/judging.py",
        search="    chance.shuffle(places)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a hedge needs no budget",
        path=f"{_STRATEGIES}/hedged.py",
        search="            if await self._is_silent() and self._attempts.ports.hedges.spend():\n",
        replace="            if await self._is_silent():\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="hedges do not wait",
        path=f"{_STRATEGIES}/hedged.py",
        search="{claimed, *self._running}, timeout=self._delay_s, return_when",
        replace="{claimed, *self._running}, timeout=0, return_when",
        tests=EXECUTION,
    ),
    Mutant(
        name="the loser of a hedge runs on",
        path=f"{_STRATEGIES}/hedged.py",
        search="            self._attempts.running.supersede(attempt)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="the losers of a race run on",
        path=f"{_STRATEGIES}/parallel.py",
        search="            if winner is not None:\n                self._attempts.close()\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a race takes answers that are not valid",
        path=f"{_STRATEGIES}/parallel.py",
        search="        if all(finding.passed for finding in findings):\n",
        replace="        if True:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a race decides before it is certain",
        path=f"{_EXECUTION}/picking.py",
        search="    return None if is_beatable else best\n",
        replace="    return best\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="in a race the cheapest confidence wins",
        path=f"{_EXECUTION}/picking.py",
        search="    best = max(entrants, key=lambda entrant: (entrant.confidence or 0.0, -entrant.place))\n",
        replace="    best = min(entrants, key=lambda entrant: (entrant.confidence or 0.0, -entrant.place))\n",
        tests=EXECUTION,
    ),
)

_HEALTH = (
    Mutant(
        name="a breaker never opens",
        path=_BREAKER,
        search="        elif _are_bad(self._local, now) or _are_bad(self._upstream, now):\n",
        replace="        elif False:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a breaker never closes",
        path=_BREAKER,
        search="        if effect is Effect.ANSWERED:\n            self._heal(now)\n            return\n",
        replace="        if effect is Effect.ANSWERED:\n            return\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a half-open target takes all traffic",
        path=_BREAKER,
        search="        return state is HealthState.HEALTHY\n",
        replace="        return state in {HealthState.HEALTHY, HealthState.HALF_OPEN}\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="what callers did wrong counts against the vendor",
        path=_BREAKER,
        search="    FaultClass.BAD_REQUEST: Effect.NOTHING,\n",
        replace="    FaultClass.BAD_REQUEST: Effect.FAILED,\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="losers count against the vendor",
        path=_BREAKER,
        search="    FaultClass.SUPERSEDED: Effect.NOTHING,\n",
        replace="    FaultClass.SUPERSEDED: Effect.FAILED,\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="Retry-After is ignored by the cooldown",
        path=_BREAKER,
        search="self._wait(retry_after_s or self._guessed_cooldown_s(), ",
        replace="self._wait(self._guessed_cooldown_s(), ",
        tests=EXECUTION,
    ),
    Mutant(
        name="a refused credential does not open the breaker",
        path=_BREAKER,
        search="            self._refuse_credential(started_at=started_at, now=now)\n",
        replace="            pass\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="ejections do not grow",
        path=_BREAKER,
        search="min(base_s * self._ejections, MOST_EJECTION_S)",
        replace="min(base_s, MOST_EJECTION_S)",
        tests=EXECUTION,
    ),
    Mutant(
        name="executors do not ask whether a target is ejected",
        path=f"{_EXECUTION}/targets.py",
        search="                if self._health.admits(target):\n",
        replace="                if True:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="if all targets are ejected nobody is asked",
        path=f"{_EXECUTION}/targets.py",
        search="        if not ejected or self._had_last_resort:\n",
        replace="        if True:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="if all targets are ejected the worst is asked",
        path=f"{_EXECUTION}/targets.py",
        search="min(ejected, key=self._health.badness)",
        replace="max(ejected, key=self._health.badness)",
        tests=EXECUTION,
    ),
    Mutant(
        name="a credential that was refused is asked again",
        path=f"{_EXECUTION}/targets.py",
        search="        entry.tried.add(target.credential.id)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a refused credential goes on to the next model",
        path=_ATTEMPTS,
        search="            if error.rotates:\n",
        replace="            if False:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="another credential takes the last call from another model",
        path=f"{_EXECUTION}/targets.py",
        search="        if self._envelope.attempts_left < 2:\n",
        replace="        if False:\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="credentials share the calls evenly",
        path=f"{_EXECUTION}/credentials.py",
        search=" / credential.weight",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a refused credential ejects a model that has another",
        path=f"{_EXECUTION}/breakers.py",
        search="            key in found for key in self._roster.targets_of(model)\n",
        replace="            True for _ in self._roster.targets_of(model)\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a provider is called without the secret that it asks for",
        path="dispatch_app/providers/upstream.py",
        search="        if provider.lacks_secret:\n",
        replace="        if False:\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="if all targets are ejected the decision refuses",
        path=f"{_ROUTING}/screening.py",
        search="        kept = [min(fitting, key=lambda candidate: _badness(targets[candidate.model.name]))]\n",
        replace="        kept = []\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a half-open target is probed without an alternative",
        path=f"{_ROUTING}/screening.py",
        search="    if any(candidate.state is HealthState.HEALTHY for candidate in fitting):\n",
        replace="    if any(candidate.state not in _EJECTED for candidate in fitting):\n",
        tests=ROUTING,
    ),
    Mutant(
        name="ejected targets stay in the plan",
        path=f"{_ROUTING}/screening.py",
        search="    if situation.fleet.targets and fitting:\n",
        replace="    if False:\n",
        tests=ROUTING,
    ),
)

_DECISION = (
    Mutant(
        name="the last rule that matches is taken",
        path=f"{_ROUTING}/choose.py",
        search="    for place in sifting.matches():\n        rule =",
        replace="    for place in reversed([*sifting.matches()]):\n        rule =",
        tests=ROUTING,
    ),
    Mutant(
        name="what the fleet said first is kept for good",
        path=f"{_ROUTING}/index.py",
        search="        if kept is None or kept.fleet is not situation.fleet:\n",
        replace="        if kept is None:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a second condition on the same fact stands in for the first",
        path=f"{_ROUTING}/index.py",
        search="            if not set(subjects).isdisjoint(chain(*found)):\n",
        replace="            if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a rule's second condition is not tried",
        path=f"{_ROUTING}/index.py",
        search="            for sieve in self._index.others_of_rule[place]:\n",
        replace="            for sieve in self._index.others_of_rule[place][:1]:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a shrunk request reserves what it did before",
        path=_RESERVATIONS,
        search="        attempt.record = msgspec.structs.replace(attempt.record, reserved_nanos=smaller.bound_nanos)\n",
        replace="",
        tests=EXECUTION,
    ),
    Mutant(
        name="a shrunk request's answer may be too short to be of use",
        path=f"{_EXECUTION}/shrinking.py",
        search="limit < max(1, room.least_output_tokens)",
        replace="limit < 1",
        tests=EXECUTION,
    ),
    Mutant(
        name="the prompt of a shrunk request is not paid for",
        path=f"{_ROUTING}/money.py",
        search="    left = nanos * TOKENS_PER_PRICE - input_tokens * price.dearest_input_nanos\n",
        replace="    left = nanos * TOKENS_PER_PRICE\n",
        tests=ROUTING,
    ),
    Mutant(
        name="what a model's row adds to a prompt is not paid for",
        path=f"{_ROUTING}/money.py",
        search="image_tokens_bound + model.quirks.input_tokens_bound\n",
        replace="image_tokens_bound\n",
        tests=ROUTING,
    ),
    Mutant(
        name="what a model thinks unasked is not paid for when it is cut",
        path=f"{_EXECUTION}/attempt.py",
        search="        return self.request.may_think or self.candidate.model.quirks.may_think\n",
        replace="        return self.request.may_think\n",
        tests=EXECUTION,
    ),
    Mutant(
        name="a tag's budget counts what bears the tag with another value",
        path="dispatch_app/snapshot/situation.py",
        search="    return budget.tag is not None and tags.get(budget.tag[0]) == budget.tag[1]\n",
        replace="    return budget.tag is not None and budget.tag[0] in tags\n",
        tests=SITUATION,
    ),
    Mutant(
        name="the tier cap is ignored",
        path=f"{_ROUTING}/screening.py",
        search="        if self.cap is not None and model.tier.rank > self.cap.tier.rank and not price.is_free:\n",
        replace="        if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="the first of several downgrades counts for good",
        path=f"{_ROUTING}/types.py",
        search="        return min(tiers, key=lambda tier: tier.rank, default=None)\n",
        replace="        return next(tiers, None)\n",
        tests=ROUTING,
    ),
    Mutant(
        name="the mildest of several caps counts",
        path=f"{_ROUTING}/screening.py",
        search="    return min(caps, key=lambda cap: cap.tier.rank) if caps else None\n",
        replace="    return max(caps, key=lambda cap: cap.tier.rank) if caps else None\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a killed model is a candidate",
        path=f"{_ROUTING}/screening.py",
        search="        if model.name in killed.models:\n",
        replace="        if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a killed provider is a candidate",
        path=f"{_ROUTING}/screening.py",
        search="        if model.provider in killed.providers:\n",
        replace="        if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a killed tenant is served",
        path=f"{_ROUTING}/choose.py",
        search="    if facts.tenant in killed.tenants:\n",
        replace="    if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a killed rule is taken",
        path=f"{_ROUTING}/choose.py",
        search="        if not killed.rules or (document.name, rule.name) not in killed.rules:\n",
        replace="        if True:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="capabilities are not looked at",
        path=f"{_ROUTING}/screening.py",
        search="        if not needs <= model.capabilities:\n",
        replace="        if False:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a sticky share is drawn anew each time",
        path=f"{_ROUTING}/conditions/occasion.py",
        search='            case StickyBy.END_USER if facts.end_user is not None:\n                return f"{facts.tenant}\\0{facts.end_user}"\n',
        replace="            case StickyBy.END_USER if facts.end_user is not None:\n                return str(facts.draw)\n",
        tests=ROUTING,
    ),
    Mutant(
        name="end users of two tenants share a draw",
        path=f"{_ROUTING}/conditions/occasion.py",
        search='                return f"{facts.tenant}\\0{facts.end_user}"\n',
        replace="                return facts.end_user\n",
        tests=ROUTING,
    ),
    Mutant(
        name="hysteresis is ignored",
        path=f"{_ROUTING}/latency.py",
        search="    return held and 100 * value_ms >= signal.above_ms * (100 - signal.hysteresis_pct)\n",
        replace="    return False\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a latency of two calls counts",
        path=f"{_ROUTING}/latency.py",
        search="    if reading is None or reading.samples < signal.least_samples:\n",
        replace="    if reading is None:\n",
        tests=ROUTING,
    ),
    Mutant(
        name="cold starts are ignored",
        path=f"{_ROUTING}/latency.py",
        search="    return reading.value_ms + cold_penalty_ms\n",
        replace="    return reading.value_ms\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a hedge does not wait for the learned p95",
        path=f"{_ROUTING}/choose.py",
        search="    return max(route.hedge_delay_ms or 0, reading.value_ms) + first.cold_penalty_ms\n",
        replace="    return (route.hedge_delay_ms or 0) + first.cold_penalty_ms\n",
        tests=ROUTING,
    ),
    Mutant(
        name="a window past midnight belongs to the day on which it ends",
        path=f"{_ROUTING}/conditions/occasion.py",
        search="        began_on = day if clock >= self.since else day - 1\n",
        replace="        began_on = day\n",
        tests=ROUTING,
    ),
    Mutant(
        name="an expired kill switch still stops",
        path="dispatch_app/snapshot/situation.py",
        search="    return [switch for switch in switches if switch.expires_at is None or switch.expires_at > now]\n",
        replace="    return list(switches)\n",
        tests=SITUATION,
    ),
)

_WIRE = (
    Mutant(
        name="redirects are followed",
        path="dispatch_app/providers/upstream.py",
        search="                if wire_status != 200:\n",
        replace="                if wire_status >= 400:\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="any media type is taken for a reply",
        path="dispatch_app/providers/upstream.py",
        search="    if media_type != expected or",
        replace="    if",
        tests=PROVIDERS,
    ),
    Mutant(
        name="a reply may be of any size",
        path="dispatch_app/providers/upstream.py",
        search="        if size > limit:\n",
        replace="        if False:\n",
        tests=(*PROVIDERS, *MATRIX),
    ),
    Mutant(
        name="an event may be of any size",
        path="dispatch_app/providers/sse.py",
        search="        if self._size + size > self._max_event_bytes:\n",
        replace="        if False:\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="a connection that broke off counts as one that never was",
        path="dispatch_app/providers/transport.py",
        search="    return TruncatedError(wire_status=wire_status)\n",
        replace="    return UnreachableError()\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="every certificate is trusted",
        path="dispatch_app/providers/transport.py",
        search="        ssl=tls,\n",
        replace="        ssl=False,\n",
        tests=(*MATRIX, "-k", "failover and plain and alone"),
    ),
    Mutant(
        name="private addresses are dialled for any provider",
        path="dispatch_app/providers/transport.py",
        search="        pool = self._private if allow_private_network else self._public\n",
        replace="        pool = self._private\n",
        tests=PROVIDERS,
    ),
    Mutant(
        name="a refused credential of ours is told as the client's",
        path=f"{_EXECUTION}/errors.py",
        search="    fault = FaultClass.CREDENTIAL_REFUSED\n    client_code",
        replace="    fault = FaultClass.CREDENTIAL_REFUSED\n    client_status = 401\n    client_code",
        tests=(*MATRIX, "-k", "failover and plain and alone"),
    ),
    Mutant(
        name="a key is compared by its beginning",
        path="dispatch_app/gateway/authentication.py",
        search="hmac.compare_digest(secret_digest(secret=parsed.secret, pepper=pepper), expected)",
        replace="secret_digest(secret=parsed.secret, pepper=pepper)[:4] == expected[:4]",
        tests=GATEWAY,
    ),
    Mutant(
        name="the Authorization header is logged",
        path="dispatch_app/gateway/authentication.py",
        search="    if authorization is None or authorization[",
        replace=(
            '    __import__("logging").getLogger(__name__).debug("Asked with %s.", authorization)\n'
            "    if authorization is None or authorization["
        ),
        tests=GATEWAY,
    ),
    Mutant(
        name="the policies of another tenant are served",
        path="dispatch_app/gateway/admission.py",
        search="    return policy.tenant_id is None or policy.tenant_id == key.tenant.id\n",
        replace="    return True\n",
        tests=("tests/wire/test_chat_completions.py", "-k", "another_tenant"),
    ),
    Mutant(
        name="edits are learned by notification only",
        path="dispatch_app/snapshot/holder.py",
        search="connection.notifies(timeout=EPOCH_POLL_S, stop_after=1)",
        replace="connection.notifies(stop_after=1)",
        tests=HOLDER,
    ),
    Mutant(
        name="a client that hangs up cancels the call that is in flight",
        path="dispatch_app/gateway/exchange.py",
        search="on_hang_up(exchange.receive, dispatch.hang_up)",
        replace="on_hang_up(exchange.receive, owner.cancel)",
        tests=("tests/wire/test_plain_hang_up.py",),
    ),
    Mutant(
        name="a cancelled dispatch leaves its connection open",
        path="dispatch_app/providers/upstream.py",
        search="                await response.stream.aclose()  # type: ignore[union-attr] # the transport's streams are asynchronous\n",
        replace="                pass\n",
        tests=(*PROVIDERS, "tests/faults/test_cancellations.py"),
    ),
)

_LIMITS = (
    Mutant(
        name="counts of rate limits are read without a lock",
        path="dispatch_app/limits/sql/take.sql",
        search=" ORDER BY rate_limit_id FOR NO KEY UPDATE;",
        replace=" ORDER BY rate_limit_id;",
        tests=LIMITS,
    ),
    Mutant(
        name="an ask that does not fit takes from the limits that it does fit",
        path="dispatch_app/limits/sql/take.sql",
        search="            IF fits THEN\n",
        replace="            IF fits OR used[ask.slots[i]] + ask.amounts[i] <= most[ask.slots[i]] THEN\n",
        tests=LIMITS,
    ),
    Mutant(
        name="the slots of processes that died are never free again",
        path="dispatch_app/limits/sql/take.sql",
        search="               AND pg_try_advisory_xact_lock(hashtext('signalbox.rate_limits'), holder)\n",
        replace="               AND false\n",
        tests=LIMITS,
    ),
    Mutant(
        name="tokens that were not used are not given back",
        path="dispatch_app/limits/shared.py",
        search="amount_of(limit, tokens=taken) - used",
        replace="0",
        tests=LIMITS,
    ),
    Mutant(
        name="a stream keeps its slot",
        path="dispatch_app/gateway/exchange.py",
        search="            self.owner.add_done_callback(lambda _: self._end_leaves())\n",
        replace="            pass\n",
        tests=LIMITS_WIRE,
    ),
    Mutant(
        name="the limits of models are not asked",
        path=_RESERVATIONS,
        search="            if self._ports.rates is not None:\n",
        replace="            if False:\n",
        tests=LIMITS_WIRE,
    ),
)

_PRICES = (
    Mutant(
        name="the cheapest tier of a published price is taken",
        path=_TRANSLATION,
        search="return _nanos(max(amounts)) if amounts else None",
        replace="return _nanos(min(amounts)) if amounts else None",
        tests=PRICES,
    ),
    Mutant(
        name="hours at which a vendor is dearer are not looked at",
        path=_TRANSLATION,
        search="                found.append(price.prices)\n",
        replace="                continue\n",
        tests=PRICES,
    ),
    Mutant(
        name="a fraction of a nano-dollar is dropped from a published price",
        path=_TRANSLATION,
        search="rounding=ROUND_CEILING",
        replace='rounding="ROUND_FLOOR"',
        tests=PRICES,
    ),
    Mutant(
        name="a bucket without a published price is free",
        path=_TRANSLATION,
        search="return otherwise if nanos is None else nanos",
        replace="return nanos or 0",
        tests=PRICES,
    ),
    Mutant(
        name="a model that is published without a price is free",
        path=_TRANSLATION,
        search="    if not any(nanos for _, nanos in dearest):\n        return None\n",
        replace="",
        tests=PRICES,
    ),
    Mutant(
        name="a price made by hand is overwritten",
        path="policies_app/services/price_imports.py",
        search="if comparison.standing is Standing.HAND_MADE and not replace_hand_made:",
        replace="if False:",
        tests=PRICES,
    ),
    Mutant(
        name="a price that came meanwhile is overwritten",
        path="policies_app/services/price_imports.py",
        search=".in_force(at=since).first() != comparison.in_force:",
        replace=".in_force(at=since).first() is False:",
        tests=PRICES,
    ),
)

MUTANTS = (*_ENVELOPE, *_STREAMS, *_LEDGER, *_STRATEGY, *_HEALTH, *_DECISION, *_WIRE, *_LIMITS, *_PRICES)
