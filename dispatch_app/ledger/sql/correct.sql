-- Corrects attempts that were charged what they reserved when they expired, and whose process settles them after all: the charge
-- becomes what they cost. Called by ledger_settle with its settlements and their span; each attempt is corrected once.
--
-- Answers what that adds to each balance, which is locked and posted by the caller. `above` is beyond what was reserved.
CREATE OR REPLACE FUNCTION ledger_correct(settlements json, earliest timestamptz, latest timestamptz)
RETURNS TABLE (balance_id bigint, posted numeric, above numeric) LANGUAGE sql AS $$
    WITH item AS MATERIALIZED (
        SELECT DISTINCT ON (attempt_id) *
          FROM ledger_settlements(settlements)
         WHERE state <> 'expired'
    ), late AS MATERIALIZED (
        SELECT item.*, attempt.dispatch_id, attempt.dispatch_created_at, attempt.model_id AS asked_model_id, attempt.reserved_nanos,
               attempt.balance_ids, attempt.cost_nanos AS charged_nanos,
               dispatch.status AS known_status, dispatch.model_id AS known_model_id, dispatch.total_ms AS known_total_ms,
               -- The sweep ended the dispatch with its last attempt of that time (see ledger_expire).
               dispatch.status = 'expired' AND dispatch.finished_at = attempt.settled_at
               AND NOT EXISTS (SELECT FROM attempt AS other
                                WHERE other.dispatch_id = attempt.dispatch_id AND other.position > attempt.position) AS was_last,
               item.outcome IS NOT NULL AND dispatch.status IN ('open', 'expired') AS ends
          FROM item
          JOIN attempt ON attempt.created_at = item.attempt_created_at AND attempt.id = item.attempt_id
                      AND attempt.created_at BETWEEN earliest AND latest
          JOIN dispatch ON dispatch.created_at = attempt.dispatch_created_at AND dispatch.id = attempt.dispatch_id
                       AND dispatch.created_at BETWEEN earliest - interval '1 day' AND latest + interval '1 day'
         WHERE attempt.state = 'expired'
           FOR UPDATE OF attempt, dispatch
    ), corrected AS (
        UPDATE attempt
           SET state = late.state,
               wire_status = late.wire_status,
               fault = late.fault,
               response_model = late.response_model,
               validation = late.validation,
               input_tokens = late.input_tokens,
               cached_input_tokens = late.cached_input_tokens,
               cache_write_tokens = late.cache_write_tokens,
               output_tokens = late.output_tokens,
               reasoning_tokens = late.reasoning_tokens,
               cost_nanos = late.cost_nanos,
               estimated = late.estimated,
               cold = late.cold,
               latency_ms = late.latency_ms,
               first_byte_ms = late.first_byte_ms,
               settled_at = late.settled_at
          FROM late
         WHERE attempt.created_at = late.attempt_created_at
           AND attempt.created_at BETWEEN earliest AND latest
           AND attempt.id = late.attempt_id
    ), by_dispatch AS (
        SELECT dispatch_id, dispatch_created_at, sum(input_tokens) AS input_tokens,
               sum(cached_input_tokens) AS cached_input_tokens, sum(cache_write_tokens) AS cache_write_tokens,
               sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens,
               sum(cost_nanos - charged_nanos) AS cost_nanos,
               bool_or(estimated) AS estimated, array_agg(attempt_id) AS attempt_ids
          FROM late
         GROUP BY dispatch_id, dispatch_created_at
    ), ended AS (
        UPDATE dispatch
           SET input_tokens = dispatch.input_tokens + by_dispatch.input_tokens,
               cached_input_tokens = dispatch.cached_input_tokens + by_dispatch.cached_input_tokens,
               cache_write_tokens = dispatch.cache_write_tokens + by_dispatch.cache_write_tokens,
               output_tokens = dispatch.output_tokens + by_dispatch.output_tokens,
               reasoning_tokens = dispatch.reasoning_tokens + by_dispatch.reasoning_tokens,
               cost_nanos = dispatch.cost_nanos + by_dispatch.cost_nanos,
               estimated = by_dispatch.estimated
                           OR EXISTS (SELECT FROM attempt AS other
                                       WHERE other.dispatch_id = dispatch.id AND other.estimated
                                         AND other.id <> ALL (by_dispatch.attempt_ids)),
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
          LEFT JOIN late AS ending ON ending.ends AND ending.dispatch_id = by_dispatch.dispatch_id
         WHERE dispatch.created_at = by_dispatch.dispatch_created_at
           AND dispatch.created_at BETWEEN earliest - interval '1 day' AND latest + interval '1 day'
           AND dispatch.id = by_dispatch.dispatch_id
        RETURNING dispatch.*
    ), counted AS (
        -- What was counted is taken back, and what is true is counted, in the hour of the attempt.
        INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
                                  dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens,
                                  output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos, wasted_nanos)
        SELECT date_trunc('hour', late.attempt_created_at, 'UTC'), ended.tenant_id, ended.api_key_id, ended.end_user,
               ended.task, coalesce(ended.policy_id, 0), line.model_id, line.outcome,
               CASE WHEN line.dispatches <> 0 THEN latency_bucket(line.total_ms) END,
               line.dispatches, line.attempts, line.sign * late.input_tokens, line.sign * late.cached_input_tokens,
               line.sign * late.cache_write_tokens, line.sign * late.output_tokens, line.sign * late.reasoning_tokens,
               line.cost_nanos,
               line.sign * coalesce(late.baseline_cost_nanos * late.ends::integer, 0),
               line.sign * coalesce(late.wasted_nanos * late.ends::integer, 0)
          FROM late
          JOIN ended ON ended.created_at = late.dispatch_created_at AND ended.id = late.dispatch_id
         CROSS JOIN LATERAL (VALUES
                   (late.asked_model_id, CASE WHEN late.was_last THEN 'expired' ELSE 'continued' END, late.known_total_ms,
                    -late.was_last::integer, -1, 0, -late.charged_nanos),
                   (late.asked_model_id, CASE WHEN late.ends THEN late.outcome WHEN late.was_last THEN 'expired' ELSE 'continued' END,
                    CASE WHEN late.ends THEN late.total_ms ELSE late.known_total_ms END,
                    (late.ends OR late.was_last)::integer, 1, 1, late.cost_nanos),
                   -- Another attempt was counted as the one that ended the dispatch.
                   (coalesce(late.known_model_id, 0), 'expired', late.known_total_ms,
                    -(late.ends AND late.known_status = 'expired' AND NOT late.was_last)::integer, 0, 0, 0)
               ) AS line (model_id, outcome, total_ms, dispatches, attempts, sign, cost_nanos)
         WHERE line.attempts <> 0 OR line.dispatches <> 0
    )
    SELECT carried.balance_id,
           sum(least(late.cost_nanos, late.reserved_nanos) - least(late.charged_nanos, late.reserved_nanos)),
           sum(greatest(late.cost_nanos - late.reserved_nanos, 0) - greatest(late.charged_nanos - late.reserved_nanos, 0))
      FROM late CROSS JOIN unnest(late.balance_ids) AS carried (balance_id)
     GROUP BY carried.balance_id
$$;
