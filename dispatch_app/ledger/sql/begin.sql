-- Admits attempts: reserves each one's worst case on every budget that applies, all or nothing, in the order of the batch.
--
-- budgets: [{budget_id, subject, period_start}, …], each once.
-- attempts: [{"dispatch": {columns}, "attempt": {columns}, "is_first": bool, "slots": [index into budgets, from 1],
-- "key": {endpoint, key_hmac, body_sha256} of a dispatch that came with an idempotency key}, …].
-- Attempts that a dispatch begins at once may all be its first: whichever is admitted brings the dispatch's row.
-- in_doubt: the batch was sent before and its commit is not known. A known attempt answers its earlier verdict.
-- A dispatch that has ended, which only the sweep does behind its process's back, begins no further attempt: 'expired'.
--
-- Answers {"verdicts": [[verdict, subject id or null], …], "used_nanos": [nanos or null, …]} in the order of the arguments.
CREATE OR REPLACE FUNCTION ledger_begin(budgets jsonb, attempts jsonb, in_doubt boolean) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    balance_ids bigint[];
    limits      bigint[];
    remaining   bigint[];
    used        bigint[];
    any_switch  boolean;
    ended       uuid[] := '{}';
    item        record;
    slot        integer;
    blocked_by  integer;
    subject_id  bigint;
    verdict     text;
    known_state text;
    claims      boolean[];
    lost_key    boolean := false;
    verdicts    text[] := '{}';
    subjects    bigint[] := '{}';
BEGIN
    -- Held to the commit; an edit of a kill switch takes it alone (see close_kill_gate).
    PERFORM pg_advisory_xact_lock_shared(hashtext('signalbox.kill_gate'));

    -- Locked against the sweep, which ends a dispatch only while it holds the row alone; what settles is not in the way.
    IF attempts @> '[{"is_first": false}]' THEN
        SELECT coalesce(array_agg(known.id) FILTER (WHERE known.status <> 'open'), '{}')
          INTO ended
          FROM (SELECT dispatch.id, dispatch.status
                  FROM jsonb_to_recordset(attempts) AS wanted (dispatch dispatch, is_first boolean)
                  JOIN dispatch ON dispatch.created_at = (wanted.dispatch).created_at AND dispatch.id = (wanted.dispatch).id
                 WHERE NOT wanted.is_first
                   FOR KEY SHARE OF dispatch) AS known;
    END IF;

    -- A balance comes into being with the first reservation of its period, with the limit of that moment: the lock
    -- makes this wait for an edit of the budget that is being committed.
    INSERT INTO budget_balance (budget_id, subject, period_start, granted_nanos)
    SELECT wanted.budget_id, wanted.subject, wanted.period_start,
           CASE WHEN budget.action <> 'alert' THEN budget_limit_nanos(budget, clock_timestamp()) END
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

    -- NULL for a soft budget and for one that was deleted. The limit of this moment counts, whatever was granted before.
    SELECT coalesce(array_agg(allowed.nanos ORDER BY wanted.slot), '{}'),
           coalesce(array_agg(allowed.nanos - balance.settled_nanos - balance.reserved_nanos - balance.overage_nanos
                              ORDER BY wanted.slot), '{}')
      INTO limits, remaining
      FROM unnest(balance_ids) WITH ORDINALITY AS wanted (id, slot)
      LEFT JOIN budget_balance AS balance ON balance.id = wanted.id
      LEFT JOIN policies_app_budget AS budget ON budget.id = balance.budget_id
      LEFT JOIN LATERAL (
               SELECT budget_limit_nanos(budget, clock_timestamp()) AS nanos
                WHERE balance.granted_nanos IS NOT NULL AND budget.action <> 'alert' AND budget.enabled
           ) AS allowed ON true;

    SELECT EXISTS (
               SELECT FROM policies_app_killswitch
                WHERE lifted_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
      INTO any_switch;

    FOR item IN
        SELECT wanted.dispatch, wanted.attempt, wanted.slots, wanted.key,
               (wanted.attempt ->> 'reserved_nanos')::bigint AS reserved_nanos
          FROM jsonb_to_recordset(attempts) AS wanted (dispatch jsonb, attempt jsonb, slots integer[], key jsonb)
    LOOP
        verdict := CASE WHEN ended <> '{}' AND (item.dispatch ->> 'id')::uuid = ANY (ended) THEN 'expired' ELSE 'admitted' END;
        subject_id := NULL;
        IF item.key IS NOT NULL THEN
            -- All keys of the batch at once, and only once there is one.
            claims := coalesce(claims, idempotency_claim(attempts));
            IF NOT claims[cardinality(verdicts) + 1] THEN
                verdict := 'repeated';
            END IF;
        END IF;
        IF verdict = 'admitted' AND any_switch THEN
            subject_id := ledger_kill_switch(jsonb_populate_record(NULL::dispatch, item.dispatch),
                                             jsonb_populate_record(NULL::attempt, item.attempt));
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
             WHERE known.created_at = (item.attempt ->> 'created_at')::timestamptz AND known.id = (item.attempt ->> 'id')::uuid;
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
        lost_key := lost_key OR item.key IS NOT NULL AND verdict IN ('killed', 'over_budget');
        verdicts := verdicts || verdict;
        subjects := subjects || subject_id;
    END LOOP;

    WITH admitted AS MATERIALIZED (
        SELECT wanted.dispatch, wanted.attempt, wanted.is_first, wanted.slots, wanted.key
          FROM ROWS FROM (
                   jsonb_to_recordset(attempts) AS (dispatch dispatch, attempt attempt, is_first boolean, slots integer[], key jsonb),
                   unnest(verdicts)
               ) AS wanted (dispatch, attempt, is_first, slots, key, verdict)
         WHERE wanted.verdict = 'admitted'
    ), dispatched AS (
        INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                              policy_version, rule, strategy, reason, stream, has_idempotency_key)
        SELECT DISTINCT ON ((dispatch).created_at, (dispatch).id)
               (dispatch).id, (dispatch).created_at, (dispatch).tenant_id, (dispatch).api_key_id, (dispatch).end_user,
               (dispatch).task, (dispatch).tags, (dispatch).requested_model, (dispatch).policy_id,
               (dispatch).policy_version, (dispatch).rule, coalesce((dispatch).strategy, ''), (dispatch).reason,
               (dispatch).stream, key IS NOT NULL
          FROM admitted
         WHERE is_first
            ON CONFLICT (created_at, id) DO NOTHING
    ), attempted AS (
        INSERT INTO attempt (id, created_at, dispatch_id, dispatch_created_at, tenant_id, position, role, model_id,
                             provider_id, price_id, reserved_nanos, balance_ids, expires_at, start_offset_ms, credential)
        SELECT (attempt).id, (attempt).created_at, (dispatch).id, (dispatch).created_at, (dispatch).tenant_id,
               (attempt).position, (attempt).role, (attempt).model_id, (attempt).provider_id, (attempt).price_id,
               (attempt).reserved_nanos,
               ARRAY(SELECT balance_ids[named.slot] FROM unnest(slots) AS named (slot) WHERE balance_ids[named.slot] IS NOT NULL),
               (attempt).expires_at, (attempt).start_offset_ms, coalesce((attempt).credential, '')
          FROM admitted
    )
    UPDATE budget_balance AS balance
       SET reserved_nanos = balance.reserved_nanos + sums.nanos,
           -- What was ever granted in the period, which outlives the raises that it came from.
           granted_nanos = CASE WHEN balance.granted_nanos IS NOT NULL THEN greatest(balance.granted_nanos, sums.limit_nanos) END
      FROM (SELECT balance_ids[named.slot] AS id, limits[named.slot] AS limit_nanos, sum((attempt).reserved_nanos) AS nanos
              FROM admitted CROSS JOIN unnest(slots) AS named (slot)
             GROUP BY named.slot) AS sums
     WHERE balance.id = sums.id;

    IF lost_key THEN
        PERFORM idempotency_release(attempts);
    END IF;

    SELECT coalesce(array_agg(balance.settled_nanos + balance.reserved_nanos + balance.overage_nanos ORDER BY wanted.slot), '{}')
      INTO used
      FROM unnest(balance_ids) WITH ORDINALITY AS wanted (id, slot)
      LEFT JOIN budget_balance AS balance ON balance.id = wanted.id;

    RETURN jsonb_build_object(
        'verdicts', (SELECT jsonb_agg(jsonb_build_array(v, s)) FROM unnest(verdicts, subjects) AS answer (v, s)),
        'used_nanos', to_jsonb(used));
END $$;
