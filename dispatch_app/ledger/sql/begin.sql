-- Admits attempts: reserves each one's worst case on every budget that applies, all or nothing, in the order of the batch.
--
-- dispatches, attempts: their columns, for each attempt of the batch. Attempts that a dispatch begins at once may all be its first:
-- whichever is admitted brings the dispatch's row.
-- budgets: [{budget_id, subject, period_start, wanted_nanos}, …], each once, with what the batch would reserve on it in all.
-- purses: [{"slots": [index into budgets, from 1], "places": [index into attempts, from 1]}, …]: the budgets that attempts reserve
-- on together. Each attempt is in one purse, which may be empty.
-- keys: the idempotency keys that dispatches came with, see idempotency_claim.
-- continued: [{id, created_at}, …] of the dispatches that have begun before.
-- in_doubt: the batch was sent before and its commit is not known. A known attempt answers its earlier verdict.
-- A dispatch that has ended, which only the sweep does behind its process's back, begins no further attempt: 'expired'.
--
-- Answers {"verdicts": [[verdict, subject id or null], …], "used_nanos": [nanos or null, …]} in the order of the arguments; the
-- verdicts are null where all are admitted.
CREATE OR REPLACE FUNCTION ledger_begin(dispatches json, attempts json, budgets json, purses json, keys json, continued json,
                                        in_doubt boolean) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    balance_ids bigint[];
    wanted      bigint[];
    limits      bigint[];
    used        bigint[];
    fits        boolean;
    any_switch  boolean;
    ended       uuid[] := '{}';
    item        record;
    slot        integer;
    subject_id  bigint;
    verdict     text;
    known_state text;
    claims      boolean[];
    lost_key    boolean := false;
    verdicts    text[];
    subjects    bigint[];
BEGIN
    -- Held to the commit; an edit of a kill switch takes it alone (see close_kill_gate).
    PERFORM pg_advisory_xact_lock_shared(hashtext('signalbox.kill_gate'));

    -- Locked against the sweep, which ends a dispatch only while it holds the row alone; what settles is not in the way.
    IF json_array_length(continued) > 0 THEN
        SELECT coalesce(array_agg(known.id) FILTER (WHERE known.status <> 'open'), '{}')
          INTO ended
          FROM (SELECT dispatch.id, dispatch.status
                  FROM json_to_recordset(continued) AS begun (id uuid, created_at timestamptz)
                  JOIN dispatch USING (created_at, id)
                   FOR KEY SHARE OF dispatch) AS known;
    END IF;

    -- Looked up, and once more where one had to be made first. A budget that was deleted has none.
    FOR look IN 1..2 LOOP
        SELECT coalesce(array_agg(balance.id ORDER BY asked.slot), '{}'),
               coalesce(array_agg(asked.wanted_nanos ORDER BY asked.slot), '{}')
          INTO balance_ids, wanted
          FROM ROWS FROM (
                   json_to_recordset(budgets) AS (budget_id bigint, subject text, period_start timestamptz, wanted_nanos bigint)
               ) WITH ORDINALITY AS asked (budget_id, subject, period_start, wanted_nanos, slot)
          LEFT JOIN budget_balance AS balance USING (budget_id, subject, period_start);
        EXIT WHEN look = 2 OR array_position(balance_ids, NULL) IS NULL;

        -- A balance comes into being with the first reservation of its period, with the limit of that moment: the lock
        -- makes this wait for an edit of the budget that is being committed.
        INSERT INTO budget_balance (budget_id, subject, period_start, granted_nanos)
        SELECT asked.budget_id, asked.subject, asked.period_start,
               CASE WHEN budget.action <> 'alert' THEN budget_limit_nanos(budget, clock_timestamp()) END
          FROM json_to_recordset(budgets) AS asked (budget_id bigint, subject text, period_start timestamptz)
          JOIN policies_app_budget AS budget ON budget.id = asked.budget_id
         WHERE NOT EXISTS (
                   SELECT FROM budget_balance AS balance
                    WHERE balance.budget_id = asked.budget_id
                      AND balance.subject = asked.subject
                      AND balance.period_start = asked.period_start)
         ORDER BY asked.budget_id, asked.subject, asked.period_start
           FOR SHARE OF budget
            ON CONFLICT DO NOTHING;
    END LOOP;

    PERFORM FROM budget_balance WHERE id = ANY (balance_ids) ORDER BY id FOR NO KEY UPDATE;

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

    SELECT EXISTS (
               SELECT FROM policies_app_killswitch
                WHERE lifted_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
      INTO any_switch;

    -- Where there is room for the whole batch and nothing to look out for, all of it is admitted; else one by one.
    IF fits AND NOT any_switch AND NOT in_doubt AND ended = '{}' AND json_array_length(keys) = 0 THEN
        FOR slot IN 1 .. cardinality(used) LOOP
            used[slot] := used[slot] + wanted[slot];
        END LOOP;
    ELSE
        verdicts := '{}';
        subjects := '{}';
        IF json_array_length(keys) > 0 THEN
            claims := idempotency_claim(keys);
        END IF;
        FOR item IN
            SELECT asked.dispatch, asked.attempt, purse.slots, (asked.attempt ->> 'reserved_nanos')::bigint AS reserved_nanos
              FROM ROWS FROM (json_array_elements(dispatches), json_array_elements(attempts))
                   WITH ORDINALITY AS asked (dispatch, attempt, place)
              JOIN (SELECT slots, unnest(places) AS place
                      FROM json_to_recordset(purses) AS named (slots integer[], places integer[])) AS purse USING (place)
             ORDER BY place
        LOOP
            verdict := CASE WHEN ended <> '{}' AND (item.dispatch ->> 'id')::uuid = ANY (ended) THEN 'expired' ELSE 'admitted' END;
            subject_id := NULL;
            IF NOT claims[cardinality(verdicts) + 1] THEN
                verdict := 'repeated';
            END IF;
            IF verdict = 'admitted' AND any_switch THEN
                subject_id := ledger_kill_switch(json_populate_record(NULL::dispatch, item.dispatch),
                                                 json_populate_record(NULL::attempt, item.attempt));
                IF subject_id IS NOT NULL THEN
                    verdict := 'killed';
                END IF;
            END IF;
            IF verdict = 'admitted' AND item.reserved_nanos > 0 THEN
                FOREACH slot IN ARRAY item.slots LOOP
                    IF item.reserved_nanos > limits[slot] - used[slot] THEN
                        verdict := 'over_budget';
                        SELECT budget_id INTO subject_id FROM budget_balance WHERE id = balance_ids[slot];
                        EXIT;
                    END IF;
                END LOOP;
            END IF;
            IF in_doubt THEN
                SELECT known.state INTO known_state
                  FROM attempt AS known
                 WHERE known.created_at = (item.attempt ->> 'created_at')::timestamptz
                   AND known.id = (item.attempt ->> 'id')::uuid;
                IF FOUND THEN
                    verdict := CASE known_state WHEN 'expired' THEN 'expired' ELSE 'known' END;
                    subject_id := NULL;
                END IF;
            END IF;
            IF verdict = 'admitted' THEN
                FOREACH slot IN ARRAY item.slots LOOP
                    used[slot] := used[slot] + item.reserved_nanos;
                END LOOP;
            END IF;
            lost_key := lost_key OR claims[cardinality(verdicts) + 1] IS NOT NULL AND verdict IN ('killed', 'over_budget');
            verdicts := verdicts || verdict;
            subjects := subjects || subject_id;
        END LOOP;
    END IF;

    WITH admitted AS MATERIALIZED (
        SELECT asked.*
          FROM ROWS FROM (
                   json_to_recordset(dispatches) AS (
                       id uuid, created_at timestamptz, tenant_id bigint, api_key_id bigint, end_user text, task text, tags jsonb,
                       requested_model text, policy_id bigint, policy_version integer, rule text, strategy text, reason jsonb,
                       stream boolean),
                   json_to_recordset(attempts) AS (
                       id uuid, created_at timestamptz, is_first boolean, position smallint, role text, model_id bigint,
                       provider_id bigint, price_id bigint, reserved_nanos bigint, expires_at timestamptz, start_offset_ms integer,
                       credential text),
                   unnest(verdicts)
               ) WITH ORDINALITY AS asked (
                   dispatch_id, dispatch_created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                   policy_version, rule, strategy, reason, stream, id, created_at, is_first, position, role, model_id,
                   provider_id, price_id, reserved_nanos, expires_at, start_offset_ms, credential, verdict, place)
         WHERE verdicts IS NULL OR asked.verdict = 'admitted'
    ), dispatched AS (
        INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                              policy_version, rule, strategy, reason, stream, has_idempotency_key)
        SELECT dispatch_id, dispatch_created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
               policy_version, rule, coalesce(strategy, ''), reason, stream, claims[place] IS NOT NULL
          FROM admitted
         WHERE is_first
            ON CONFLICT (created_at, id) DO NOTHING
    ), attempted AS (
        INSERT INTO attempt (id, created_at, dispatch_id, dispatch_created_at, tenant_id, position, role, model_id,
                             provider_id, price_id, reserved_nanos, balance_ids, expires_at, start_offset_ms, credential)
        SELECT id, created_at, dispatch_id, dispatch_created_at, tenant_id, position, role, model_id, provider_id, price_id,
               reserved_nanos, purse.ids, expires_at, start_offset_ms, credential
          FROM admitted
          LEFT JOIN (SELECT unnest(places) AS place,
                            ARRAY(SELECT balance_ids[n] FROM unnest(slots) AS n WHERE balance_ids[n] IS NOT NULL) AS ids
                       FROM json_to_recordset(purses) AS named (slots integer[], places integer[])) AS purse USING (place)
        RETURNING attempt.balance_ids, attempt.reserved_nanos
    )
    UPDATE budget_balance AS balance
       SET reserved_nanos = balance.reserved_nanos + sums.nanos,
           -- What was ever granted in the period, which outlives the raises that it came from.
           granted_nanos = CASE WHEN balance.granted_nanos IS NOT NULL THEN greatest(balance.granted_nanos, sums.limit_nanos) END
      FROM (SELECT known.id, known.limit_nanos, sum(drawn.nanos) AS nanos
              FROM (SELECT attempted.balance_ids AS ids, sum(reserved_nanos) AS nanos FROM attempted GROUP BY 1) AS drawn
              JOIN unnest(balance_ids, limits) AS known (id, limit_nanos) ON known.id = ANY (drawn.ids)
             GROUP BY known.id, known.limit_nanos) AS sums
     WHERE balance.id = sums.id;

    IF lost_key THEN
        PERFORM idempotency_release(keys);
    END IF;

    RETURN jsonb_build_object(
        'verdicts', (SELECT jsonb_agg(jsonb_build_array(v, s)) FROM unnest(verdicts, subjects) AS answer (v, s)),
        'used_nanos', to_jsonb(used));
END $$;
