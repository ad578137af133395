-- The ledger's transactions, each one function call and so one round trip: a process that stops between two statements
-- can never be left holding a lock on a budget. Installed after every migrate (see dispatch_app.apps).
--
-- Each statement of a volatile function has a snapshot of its own. Balances are locked in order of their id and read in a
-- *following* statement, because the snapshot of the statement that locks may be older than its locks.


-- The active kill switch that stops this attempt, or NULL.
CREATE OR REPLACE FUNCTION ledger_kill_switch(dispatch dispatch, attempt attempt) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT switch.id
      FROM policies_app_killswitch AS switch
     WHERE switch.lifted_at IS NULL
       AND (switch.expires_at IS NULL OR switch.expires_at > clock_timestamp())
       AND CASE switch.scope
               WHEN 'everything' THEN true
               WHEN 'provider' THEN switch.provider_id = attempt.provider_id
               WHEN 'model' THEN switch.model_id = attempt.model_id
               WHEN 'policy' THEN switch.policy_id = dispatch.policy_id
               WHEN 'rule' THEN switch.policy_id = dispatch.policy_id AND switch.rule_name = dispatch.rule
               WHEN 'tenant' THEN switch.tenant_id = dispatch.tenant_id
               WHEN 'api_key' THEN switch.api_key_id = dispatch.api_key_id
               WHEN 'end_user' THEN switch.tenant_id = dispatch.tenant_id AND switch.end_user = dispatch.end_user
               ELSE true
           END
     ORDER BY switch.id
     LIMIT 1
$$;


-- Admits attempts: reserves each one's worst case on every budget that applies, all or nothing, in the order of the batch.
--
-- budgets: [{budget_id, subject, period_start}, …], each once.
-- attempts: [{"dispatch": {columns}, "attempt": {columns}, "is_first": bool, "slots": [index into budgets, from 1]}, …].
-- Attempts that a dispatch begins at once may all be its first: whichever is admitted brings the dispatch's row.
-- in_doubt: the batch was sent before and its commit is not known. A known attempt answers its earlier verdict.
--
-- Answers {"verdicts": [[verdict, subject id or null], …], "used_nanos": [nanos or null, …]} in the order of the arguments.
CREATE OR REPLACE FUNCTION ledger_begin(budgets jsonb, attempts jsonb, in_doubt boolean) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    balance_ids bigint[];
    remaining   bigint[];
    used        bigint[];
    any_switch  boolean;
    item        record;
    slot        integer;
    blocked_by  integer;
    subject_id  bigint;
    verdict     text;
    known_state text;
    verdicts    text[] := '{}';
    subjects    bigint[] := '{}';
BEGIN
    -- Held to the commit; an edit of a kill switch takes it alone (see close_kill_gate).
    PERFORM pg_advisory_xact_lock_shared(hashtext('signalbox.kill_gate'));

    -- A balance comes into being with the first reservation of its period, with the limit of that moment: the lock
    -- makes this wait for an edit of the budget that is being committed.
    INSERT INTO budget_balance (budget_id, subject, period_start, granted_nanos)
    SELECT wanted.budget_id, wanted.subject, wanted.period_start,
           CASE WHEN budget.action <> 'alert' THEN budget.limit_nanos END
      FROM jsonb_to_recordset(budgets) AS wanted (budget_id bigint, subject text, period_start timestamptz)
      JOIN policies_app_budget AS budget ON budget.id = wanted.budget_id
     WHERE NOT EXISTS (
               SELECT FROM budget_balance AS balance
                WHERE balance.budget_id = wanted.budget_id
                  AND balance.subject = wanted.subject
                  AND balance.period_start = wanted.period_start)
     ORDER BY wanted.budget_id, wanted.subject, wanted.period_start
       FOR SHARE OF budget
        ON CONFLICT DO NOTHING;

    SELECT coalesce(array_agg(balance.id ORDER BY wanted.slot), '{}')
      INTO balance_ids
      FROM ROWS FROM (
               jsonb_to_recordset(budgets) AS (budget_id bigint, subject text, period_start timestamptz)
           ) WITH ORDINALITY AS wanted (budget_id, subject, period_start, slot)
      LEFT JOIN budget_balance AS balance USING (budget_id, subject, period_start);

    PERFORM FROM budget_balance WHERE id = ANY (balance_ids) ORDER BY id FOR NO KEY UPDATE;

    -- NULL for a soft budget and for one that was deleted. A lowered limit counts at once, whatever was granted before.
    SELECT coalesce(array_agg(
               CASE WHEN balance.granted_nanos IS NOT NULL AND budget.action <> 'alert' AND budget.enabled
                    THEN least(balance.granted_nanos, budget.limit_nanos)
                         - balance.settled_nanos - balance.reserved_nanos - balance.overage_nanos
               END ORDER BY wanted.slot), '{}')
      INTO remaining
      FROM unnest(balance_ids) WITH ORDINALITY AS wanted (id, slot)
      LEFT JOIN budget_balance AS balance ON balance.id = wanted.id
      LEFT JOIN policies_app_budget AS budget ON budget.id = balance.budget_id;

    SELECT EXISTS (
               SELECT FROM policies_app_killswitch
                WHERE lifted_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
      INTO any_switch;

    FOR item IN
        SELECT wanted.dispatch, wanted.attempt, wanted.slots, (wanted.attempt).reserved_nanos AS reserved_nanos
          FROM jsonb_to_recordset(attempts) AS wanted (dispatch dispatch, attempt attempt, slots integer[])
    LOOP
        verdict := 'admitted';
        subject_id := NULL;
        IF any_switch THEN
            subject_id := ledger_kill_switch(item.dispatch, item.attempt);
            IF subject_id IS NOT NULL THEN
                verdict := 'killed';
            END IF;
        END IF;
        IF verdict = 'admitted' AND item.reserved_nanos > 0 THEN
            FOREACH slot IN ARRAY item.slots LOOP
                IF remaining[slot] < item.reserved_nanos THEN
                    verdict := 'over_budget';
                    blocked_by := balance_ids[slot];
                    SELECT budget_id INTO subject_id FROM budget_balance WHERE id = blocked_by;
                    EXIT;
                END IF;
            END LOOP;
        END IF;
        IF in_doubt THEN
            SELECT known.state INTO known_state
              FROM attempt AS known
             WHERE known.created_at = (item.attempt).created_at AND known.id = (item.attempt).id;
            IF FOUND THEN
                verdict := CASE known_state WHEN 'expired' THEN 'expired' ELSE 'known' END;
                subject_id := NULL;
            END IF;
        END IF;
        IF verdict = 'admitted' THEN
            FOREACH slot IN ARRAY item.slots LOOP
                remaining[slot] := remaining[slot] - item.reserved_nanos;
            END LOOP;
        END IF;
        verdicts := verdicts || verdict;
        subjects := subjects || subject_id;
    END LOOP;

    WITH admitted AS MATERIALIZED (
        SELECT wanted.dispatch, wanted.attempt, wanted.is_first, wanted.slots
          FROM ROWS FROM (
                   jsonb_to_recordset(attempts) AS (dispatch dispatch, attempt attempt, is_first boolean, slots integer[]),
                   unnest(verdicts)
               ) AS wanted (dispatch, attempt, is_first, slots, verdict)
         WHERE wanted.verdict = 'admitted'
    ), dispatched AS (
        INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                              policy_version, rule, strategy, reason, stream)
        SELECT DISTINCT ON ((dispatch).created_at, (dispatch).id)
               (dispatch).id, (dispatch).created_at, (dispatch).tenant_id, (dispatch).api_key_id, (dispatch).end_user,
               (dispatch).task, (dispatch).tags, (dispatch).requested_model, (dispatch).policy_id,
               (dispatch).policy_version, (dispatch).rule, coalesce((dispatch).strategy, ''), (dispatch).reason,
               (dispatch).stream
          FROM admitted
         WHERE is_first
            ON CONFLICT (created_at, id) DO NOTHING
    ), attempted AS (
        INSERT INTO attempt (id, created_at, dispatch_id, dispatch_created_at, tenant_id, position, role, model_id,
                             provider_id, price_id, reserved_nanos, balance_ids, expires_at, start_offset_ms)
        SELECT (attempt).id, (attempt).created_at, (dispatch).id, (dispatch).created_at, (dispatch).tenant_id,
               (attempt).position, (attempt).role, (attempt).model_id, (attempt).provider_id, (attempt).price_id,
               (attempt).reserved_nanos,
               ARRAY(SELECT balance_ids[named.slot] FROM unnest(slots) AS named (slot) WHERE balance_ids[named.slot] IS NOT NULL),
               (attempt).expires_at, (attempt).start_offset_ms
          FROM admitted
    )
    UPDATE budget_balance AS balance
       SET reserved_nanos = balance.reserved_nanos + sums.nanos
      FROM (SELECT balance_ids[named.slot] AS id, sum((attempt).reserved_nanos) AS nanos
              FROM admitted CROSS JOIN unnest(slots) AS named (slot)
             GROUP BY named.slot) AS sums
     WHERE balance.id = sums.id;

    SELECT coalesce(array_agg(balance.settled_nanos + balance.reserved_nanos + balance.overage_nanos ORDER BY wanted.slot), '{}')
      INTO used
      FROM unnest(balance_ids) WITH ORDINALITY AS wanted (id, slot)
      LEFT JOIN budget_balance AS balance ON balance.id = wanted.id;

    RETURN jsonb_build_object(
        'verdicts', (SELECT jsonb_agg(jsonb_build_array(v, s)) FROM unnest(verdicts, subjects) AS answer (v, s)),
        'used_nanos', to_jsonb(used));
END $$;


-- Settles attempts and ends dispatches, each once: what is no longer open is passed over, so a batch may be sent again.
--
-- settlements: [{attempt_id, attempt_created_at, columns of attempt, "usage": {tokens}, "outcome": {columns of dispatch} or
-- null}, …]; finishes: [{"dispatch": {columns}, "outcome": {columns}}, …] for dispatches without an attempt left to settle.
--
-- Answers [[budget_id, subject, period_start, used_nanos], …] of the balances that it touched.
CREATE OR REPLACE FUNCTION ledger_settle(settlements jsonb, finishes jsonb) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    earliest       timestamptz;
    latest         timestamptz;
    touched_ids    bigint[];
    released_nanos bigint[];
    posted_nanos   bigint[];
    above_nanos    bigint[];
    answer         jsonb;
BEGIN
    -- Known before the plan starts, so that it opens the one or two day partitions concerned and not every day's.
    SELECT min(wanted.attempt_created_at), max(wanted.attempt_created_at)
      INTO earliest, latest
      FROM jsonb_to_recordset(settlements) AS wanted (attempt_created_at timestamptz);

    WITH item AS MATERIALIZED (
        SELECT *
          FROM jsonb_to_recordset(settlements) AS wanted (
                   attempt_id uuid, attempt_created_at timestamptz, state text, wire_status smallint, fault text,
                   response_model text, validation jsonb, usage attempt, cost_nanos bigint, estimated boolean, cold boolean, latency_ms integer,
                   first_byte_ms integer, settled_at timestamptz, outcome dispatch)
    ), closed AS (
        UPDATE attempt
           SET state = item.state,
               wire_status = item.wire_status,
               fault = coalesce(item.fault, ''),
               response_model = item.response_model,
               validation = coalesce(item.validation, '[]'),
               input_tokens = (item.usage).input_tokens,
               cached_input_tokens = (item.usage).cached_input_tokens,
               cache_write_tokens = (item.usage).cache_write_tokens,
               output_tokens = (item.usage).output_tokens,
               reasoning_tokens = (item.usage).reasoning_tokens,
               cost_nanos = item.cost_nanos,
               estimated = item.estimated,
               cold = item.cold,
               latency_ms = item.latency_ms,
               first_byte_ms = item.first_byte_ms,
               settled_at = item.settled_at
          FROM item
         WHERE attempt.created_at = item.attempt_created_at
           AND attempt.created_at BETWEEN earliest AND latest
           AND attempt.id = item.attempt_id
           AND attempt.state = 'open'
        RETURNING attempt.*, item.outcome
    ), by_dispatch AS (
        SELECT dispatch_id, dispatch_created_at,
               count(*) AS attempts, sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
               sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,
               sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nanos) AS cost_nanos, bool_or(estimated) AS estimated,
               (array_agg(outcome ORDER BY position DESC) FILTER (WHERE (outcome).status IS NOT NULL))[1] AS outcome
          FROM closed
         GROUP BY dispatch_id, dispatch_created_at
    ), ended AS (
        UPDATE dispatch
           SET attempts = dispatch.attempts + by_dispatch.attempts,
               input_tokens = dispatch.input_tokens + by_dispatch.input_tokens,
               cached_input_tokens = dispatch.cached_input_tokens + by_dispatch.cached_input_tokens,
               cache_write_tokens = dispatch.cache_write_tokens + by_dispatch.cache_write_tokens,
               output_tokens = dispatch.output_tokens + by_dispatch.output_tokens,
               reasoning_tokens = dispatch.reasoning_tokens + by_dispatch.reasoning_tokens,
               cost_nanos = dispatch.cost_nanos + by_dispatch.cost_nanos,
               estimated = dispatch.estimated OR by_dispatch.estimated,
               status = coalesce((by_dispatch.outcome).status, dispatch.status),
               error_code = coalesce((by_dispatch.outcome).error_code, dispatch.error_code),
               answered_by = coalesce((by_dispatch.outcome).answered_by, dispatch.answered_by),
               validated = coalesce((by_dispatch.outcome).validated, dispatch.validated),
               model_id = coalesce((by_dispatch.outcome).model_id, dispatch.model_id),
               provider_id = coalesce((by_dispatch.outcome).provider_id, dispatch.provider_id),
               baseline_cost_nanos = coalesce((by_dispatch.outcome).baseline_cost_nanos, dispatch.baseline_cost_nanos),
               total_ms = coalesce((by_dispatch.outcome).total_ms, dispatch.total_ms),
               first_byte_ms = coalesce((by_dispatch.outcome).first_byte_ms, dispatch.first_byte_ms),
               overhead_us = coalesce((by_dispatch.outcome).overhead_us, dispatch.overhead_us),
               finished_at = coalesce((by_dispatch.outcome).finished_at, dispatch.finished_at)
          FROM by_dispatch
         WHERE dispatch.created_at = by_dispatch.dispatch_created_at
           AND dispatch.created_at BETWEEN earliest - interval '1 day' AND latest + interval '1 day'
           AND dispatch.id = by_dispatch.dispatch_id
        RETURNING dispatch.*
    ), measured AS (
        SELECT date_trunc('hour', closed.created_at, 'UTC') AS hour, ended.tenant_id, ended.api_key_id, ended.end_user,
               ended.task, coalesce(ended.policy_id, 0) AS policy_id, closed.model_id,
               coalesce((closed.outcome).status, 'continued') AS outcome,
               CASE WHEN (closed.outcome).status IS NOT NULL THEN latency_bucket((closed.outcome).total_ms) END AS latency_bucket,
               CASE WHEN (closed.outcome).status IS NOT NULL THEN 1 ELSE 0 END AS dispatches,
               closed.input_tokens, closed.cached_input_tokens, closed.cache_write_tokens, closed.output_tokens,
               closed.reasoning_tokens, closed.cost_nanos,
               coalesce((closed.outcome).baseline_cost_nanos, 0) AS baseline_cost_nanos
          FROM closed JOIN ended ON ended.created_at = closed.dispatch_created_at AND ended.id = closed.dispatch_id
    ), counted AS (
        INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
                                  dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens,
                                  output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos)
        SELECT hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
               sum(dispatches), count(*), sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens),
               sum(output_tokens), sum(reasoning_tokens), sum(cost_nanos), sum(baseline_cost_nanos)
          FROM measured
         GROUP BY hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket
    ), by_balance AS (
        SELECT balance_id, sum(reserved_nanos) AS released, sum(least(cost_nanos, reserved_nanos)) AS posted,
               sum(greatest(cost_nanos - reserved_nanos, 0)) AS above
          FROM closed CROSS JOIN unnest(balance_ids) AS balance_id
         GROUP BY balance_id
    )
    SELECT array_agg(balance_id ORDER BY balance_id), array_agg(released ORDER BY balance_id),
           array_agg(posted ORDER BY balance_id), array_agg(above ORDER BY balance_id)
      INTO touched_ids, released_nanos, posted_nanos, above_nanos
      FROM by_balance;

    IF jsonb_array_length(finishes) > 0 THEN
        PERFORM ledger_finish(finishes);
    END IF;

    PERFORM FROM budget_balance WHERE id = ANY (touched_ids) ORDER BY id FOR NO KEY UPDATE;

    WITH posted AS (
        UPDATE budget_balance AS balance
           SET reserved_nanos = balance.reserved_nanos - sums.released,
               settled_nanos = balance.settled_nanos + sums.posted,
               overage_nanos = balance.overage_nanos + sums.above
          FROM unnest(touched_ids, released_nanos, posted_nanos, above_nanos) AS sums (id, released, posted, above)
         WHERE balance.id = sums.id
        RETURNING balance.*
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array(budget_id, subject, period_start,
                                                settled_nanos + reserved_nanos + overage_nanos)), '[]')
      INTO answer
      FROM posted;
    RETURN answer;
END $$;


-- Ends dispatches that have no attempt left to settle, or never had one; see ledger_settle.
CREATE OR REPLACE FUNCTION ledger_finish(finishes jsonb) RETURNS void LANGUAGE sql AS $$
    WITH item AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(finishes) AS wanted (dispatch dispatch, outcome dispatch)
    ), ended AS (
        INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                              policy_version, rule, strategy, reason, stream, status, error_code, answered_by, validated,
                              model_id, provider_id, baseline_cost_nanos, total_ms, first_byte_ms, overhead_us, finished_at)
        SELECT (dispatch).id, (dispatch).created_at, (dispatch).tenant_id, (dispatch).api_key_id, (dispatch).end_user,
               (dispatch).task, (dispatch).tags, (dispatch).requested_model, (dispatch).policy_id,
               (dispatch).policy_version, (dispatch).rule, coalesce((dispatch).strategy, ''), (dispatch).reason,
               (dispatch).stream, (outcome).status, (outcome).error_code, (outcome).answered_by, (outcome).validated,
               (outcome).model_id, (outcome).provider_id, (outcome).baseline_cost_nanos, (outcome).total_ms, (outcome).first_byte_ms, (outcome).overhead_us,
               (outcome).finished_at
          FROM item
            ON CONFLICT (created_at, id) DO UPDATE
           SET status = excluded.status,
               error_code = excluded.error_code,
               answered_by = excluded.answered_by,
               validated = excluded.validated,
               model_id = excluded.model_id,
               provider_id = excluded.provider_id,
               baseline_cost_nanos = excluded.baseline_cost_nanos,
               total_ms = excluded.total_ms,
               first_byte_ms = excluded.first_byte_ms,
               overhead_us = excluded.overhead_us,
               finished_at = excluded.finished_at
         WHERE dispatch.status = 'open'
        RETURNING dispatch.*
    )
    INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
                              dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                              reasoning_tokens, cost_nanos, baseline_cost_nanos)
    SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, api_key_id, end_user, task, coalesce(policy_id, 0),
           coalesce(model_id, 0), status, latency_bucket(total_ms), count(*), 0, 0, 0, 0, 0, 0, 0,
           sum(coalesce(baseline_cost_nanos, 0))
      FROM ended
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
$$;


-- Expires what its process never settled: each such attempt is charged what it reserved, because the vendor may have billed
-- it, and its dispatch ends as expired. Answers how many attempts and dispatches that were.
--
-- Looks only at rows since the watermark: nothing older is open, because the watermark never passes an open row.
CREATE OR REPLACE FUNCTION ledger_expire(at timestamptz, most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    since       timestamptz;
    settlements jsonb;
    finishes    jsonb;
    expired     integer;
BEGIN
    SELECT swept_until INTO since FROM ledger_sweep FOR UPDATE;

    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'attempt_id', lost.id, 'attempt_created_at', lost.created_at, 'state', 'expired', 'fault', 'expired',
               'response_model', '', 'cost_nanos', lost.reserved_nanos, 'estimated', true, 'cold', false,
               'settled_at', at,
               'usage', jsonb_build_object('input_tokens', 0, 'cached_input_tokens', 0, 'cache_write_tokens', 0,
                                           'output_tokens', 0, 'reasoning_tokens', 0),
               'outcome', CASE WHEN lost.is_last THEN jsonb_build_object(
                   'status', 'expired', 'error_code', 'expired', 'model_id', lost.model_id,
                   'provider_id', lost.provider_id, 'finished_at', at,
                   'total_ms', least(extract(epoch FROM at - lost.dispatch_created_at) * 1000, 2147483647)::integer) END)), '[]')
      INTO settlements
      FROM (SELECT attempt.*,
                   NOT EXISTS (SELECT FROM attempt AS other
                                WHERE other.dispatch_id = attempt.dispatch_id AND other.position > attempt.position)
                   AND EXISTS (SELECT FROM dispatch
                                WHERE dispatch.created_at = attempt.dispatch_created_at
                                  AND dispatch.id = attempt.dispatch_id AND dispatch.status = 'open') AS is_last
              FROM attempt
             WHERE attempt.created_at >= since AND attempt.state = 'open' AND attempt.expires_at < at
             ORDER BY attempt.created_at, attempt.id
             LIMIT most
               FOR UPDATE SKIP LOCKED) AS lost;

    -- A process that died between two attempts left the dispatch open with nothing to settle.
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'dispatch', to_jsonb(orphan), 'outcome', jsonb_build_object(
                   'status', 'expired', 'error_code', 'expired', 'finished_at', at,
                   'total_ms', least(extract(epoch FROM at - orphan.created_at) * 1000, 2147483647)::integer))), '[]')
      INTO finishes
      FROM (SELECT dispatch.*
              FROM dispatch
             WHERE dispatch.created_at >= since AND dispatch.created_at < at - interval '15 minutes'
               AND dispatch.status = 'open'
               AND NOT EXISTS (SELECT FROM attempt WHERE attempt.dispatch_id = dispatch.id AND attempt.state = 'open')
             ORDER BY dispatch.created_at, dispatch.id
             LIMIT most
               FOR UPDATE SKIP LOCKED) AS orphan;

    PERFORM ledger_settle(settlements, finishes);
    expired := jsonb_array_length(settlements) + jsonb_array_length(finishes);

    -- Five minutes cover what is being committed with an earlier creation time.
    UPDATE ledger_sweep
       SET swept_until = greatest(since, least(
               at - interval '5 minutes',
               (SELECT min(created_at) FROM attempt WHERE created_at >= since AND state = 'open'),
               (SELECT min(created_at) FROM dispatch WHERE created_at >= since AND status = 'open')));
    RETURN expired;
END $$;
