-- Settles attempts and ends dispatches, each once: what is no longer open is passed over, so a batch may be sent again. An attempt
-- that has expired in the meantime is corrected (see ledger_correct).
--
-- settlements: see ledger_settlements; their attempts were created between earliest and latest. finishes: [{"dispatch": {columns},
-- "outcome": {columns}}, …] for dispatches without an attempt left to settle.
--
-- Answers [[budget_id, subject, period_start, used_nanos], …] of the balances that it touched.
CREATE OR REPLACE FUNCTION ledger_settle(settlements json, finishes json, earliest timestamptz, latest timestamptz) RETURNS jsonb
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
DECLARE
    passed_over    integer;
    touched_ids    bigint[];
    released_nanos bigint[];
    posted_nanos   bigint[];
    above_nanos    bigint[];
    answer         jsonb;
BEGIN
    -- The span is known before the plan starts, so that it opens the one or two day partitions concerned and not every day's. Rows
    -- are named by lists of their keys beside every join, and loops are off: so each is looked up once, and no plan reads all of
    -- that time.
    WITH item AS MATERIALIZED (
        SELECT * FROM ledger_settlements(settlements)
    ), closed AS (
        UPDATE attempt
           SET state = item.state,
               wire_status = item.wire_status,
               fault = item.fault,
               response_model = item.response_model,
               validation = item.validation,
               input_tokens = item.input_tokens,
               cached_input_tokens = item.cached_input_tokens,
               cache_write_tokens = item.cache_write_tokens,
               output_tokens = item.output_tokens,
               reasoning_tokens = item.reasoning_tokens,
               cost_nanos = item.cost_nanos,
               estimated = item.estimated,
               cold = item.cold,
               latency_ms = item.latency_ms,
               first_byte_ms = item.first_byte_ms,
               settled_at = item.settled_at
          FROM item
         WHERE attempt.created_at = item.attempt_created_at
           AND attempt.created_at = ANY (ARRAY(SELECT attempt_created_at FROM item))
           AND attempt.created_at BETWEEN earliest AND latest
           AND attempt.id = item.attempt_id
           AND attempt.id = ANY (ARRAY(SELECT attempt_id FROM item))
           AND attempt.state = 'open'
        RETURNING attempt.created_at, attempt.dispatch_id, attempt.dispatch_created_at, attempt.model_id AS asked_model_id,
                  attempt.reserved_nanos, attempt.balance_ids, item.input_tokens, item.cached_input_tokens, item.cache_write_tokens,
                  item.output_tokens, item.reasoning_tokens, item.cost_nanos, item.estimated, item.outcome, item.error_code,
                  item.answered_by, item.validated, item.model_id, item.provider_id, item.baseline_cost_nanos, item.wasted_nanos,
                  item.total_ms, item.dispatch_first_byte_ms, item.overhead_us, item.finished_at
    ), by_dispatch AS (
        SELECT dispatch_id, dispatch_created_at, count(*) AS attempts, sum(input_tokens) AS input_tokens,
               sum(cached_input_tokens) AS cached_input_tokens, sum(cache_write_tokens) AS cache_write_tokens,
               sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens, sum(cost_nanos) AS cost_nanos,
               bool_or(estimated) AS estimated
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
               status = coalesce(ending.outcome, dispatch.status),
               error_code = coalesce(ending.error_code, dispatch.error_code),
               answered_by = coalesce(ending.answered_by, dispatch.answered_by),
               validated = coalesce(ending.validated, dispatch.validated),
               model_id = coalesce(ending.model_id, dispatch.model_id),
               provider_id = coalesce(ending.provider_id, dispatch.provider_id),
               baseline_cost_nanos = coalesce(ending.baseline_cost_nanos, dispatch.baseline_cost_nanos),
               wasted_nanos = coalesce(ending.wasted_nanos, dispatch.wasted_nanos),
               total_ms = coalesce(ending.total_ms, dispatch.total_ms),
               first_byte_ms = coalesce(ending.dispatch_first_byte_ms, dispatch.first_byte_ms),
               overhead_us = coalesce(ending.overhead_us, dispatch.overhead_us),
               finished_at = coalesce(ending.finished_at, dispatch.finished_at)
          FROM by_dispatch
          -- At most one attempt of a dispatch ends it.
          LEFT JOIN closed AS ending ON ending.outcome IS NOT NULL AND ending.dispatch_id = by_dispatch.dispatch_id
         WHERE dispatch.created_at = by_dispatch.dispatch_created_at
           AND dispatch.created_at = ANY (ARRAY(SELECT dispatch_created_at FROM by_dispatch))
           AND dispatch.created_at BETWEEN earliest - interval '1 day' AND latest + interval '1 day'
           AND dispatch.id = by_dispatch.dispatch_id
           AND dispatch.id = ANY (ARRAY(SELECT dispatch_id FROM by_dispatch))
        RETURNING dispatch.id, dispatch.created_at, dispatch.tenant_id, dispatch.api_key_id, dispatch.end_user, dispatch.task,
                  dispatch.policy_id
    ), measured AS (
        SELECT date_trunc('hour', closed.created_at, 'UTC') AS hour, ended.tenant_id, ended.api_key_id, ended.end_user,
               ended.task, coalesce(ended.policy_id, 0) AS policy_id, closed.asked_model_id AS model_id,
               coalesce(closed.outcome, 'continued') AS outcome,
               CASE WHEN closed.outcome IS NOT NULL THEN latency_bucket(closed.total_ms) END AS latency_bucket,
               CASE WHEN closed.outcome IS NOT NULL THEN 1 ELSE 0 END AS dispatches,
               closed.input_tokens, closed.cached_input_tokens, closed.cache_write_tokens, closed.output_tokens,
               closed.reasoning_tokens, closed.cost_nanos, coalesce(closed.baseline_cost_nanos, 0) AS baseline_cost_nanos,
               coalesce(closed.wasted_nanos, 0) AS wasted_nanos
          FROM closed JOIN ended ON ended.created_at = closed.dispatch_created_at AND ended.id = closed.dispatch_id
    ), counted AS (
        INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
                                  dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens,
                                  output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos, wasted_nanos)
        SELECT hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
               sum(dispatches), count(*), sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens),
               sum(output_tokens), sum(reasoning_tokens), sum(cost_nanos), sum(baseline_cost_nanos), sum(wasted_nanos)
          FROM measured
         GROUP BY hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket
    ), by_balance AS (
        SELECT balance_id, sum(reserved_nanos) AS released, sum(least(cost_nanos, reserved_nanos)) AS posted,
               sum(greatest(cost_nanos - reserved_nanos, 0)) AS above
          FROM closed CROSS JOIN unnest(balance_ids) AS balance_id
         GROUP BY balance_id
    )
    SELECT array_agg(balance_id ORDER BY balance_id), array_agg(released ORDER BY balance_id),
           array_agg(posted ORDER BY balance_id), array_agg(above ORDER BY balance_id),
           (SELECT count(*) FROM item) - (SELECT count(*) FROM closed)
      INTO touched_ids, released_nanos, posted_nanos, above_nanos, passed_over
      FROM by_balance;

    IF passed_over > 0 THEN
        SELECT array_agg(balance_id), array_agg(released), array_agg(posted), array_agg(above)
          INTO touched_ids, released_nanos, posted_nanos, above_nanos
          FROM (SELECT balance_id, sum(released) AS released, sum(posted) AS posted, sum(above) AS above
                  FROM (SELECT * FROM unnest(touched_ids, released_nanos, posted_nanos, above_nanos)
                                      AS known (balance_id, released, posted, above)
                         UNION ALL
                        SELECT balance_id, 0, posted, above FROM ledger_correct(settlements, earliest, latest)) AS both_kinds
                 GROUP BY balance_id) AS by_balance;
    END IF;

    IF json_array_length(finishes) > 0 THEN
        PERFORM ledger_finish(finishes);
    END IF;

    PERFORM FROM budget_balance WHERE id = ANY (touched_ids) ORDER BY id FOR NO KEY UPDATE;

    WITH posted AS (
        UPDATE budget_balance AS balance
           SET reserved_nanos = balance.reserved_nanos - sums.released,
               settled_nanos = balance.settled_nanos + sums.posted,
               overage_nanos = balance.overage_nanos + sums.above
          FROM unnest(touched_ids, released_nanos, posted_nanos, above_nanos) AS sums (id, released, posted, above)
         WHERE balance.id = sums.id AND balance.id = ANY (touched_ids)
        RETURNING balance.*
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array(budget_id, subject, period_start,
                                                settled_nanos + reserved_nanos + overage_nanos)), '[]')
      INTO answer
      FROM posted;
    RETURN answer;
END $$;
