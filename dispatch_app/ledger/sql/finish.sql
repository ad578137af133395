-- Ends dispatches that have no attempt left to settle, or never had one; see ledger_settle.
CREATE OR REPLACE FUNCTION ledger_finish(finishes json) RETURNS void LANGUAGE sql AS $$
    WITH item AS MATERIALIZED (
        SELECT * FROM json_to_recordset(finishes) AS wanted (dispatch dispatch, outcome dispatch)
    ), ended AS (
        INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, task, tags, requested_model, policy_id,
                              policy_version, rule, strategy, reason, stream, status, error_code, answered_by, validated,
                              model_id, provider_id, baseline_cost_nanos, wasted_nanos, total_ms, first_byte_ms, overhead_us,
                              finished_at)
        SELECT (dispatch).id, (dispatch).created_at, (dispatch).tenant_id, (dispatch).api_key_id, (dispatch).end_user,
               (dispatch).task, (dispatch).tags, (dispatch).requested_model, (dispatch).policy_id,
               (dispatch).policy_version, (dispatch).rule, coalesce((dispatch).strategy, ''), (dispatch).reason,
               (dispatch).stream, (outcome).status, (outcome).error_code, (outcome).answered_by, (outcome).validated,
               (outcome).model_id, (outcome).provider_id, (outcome).baseline_cost_nanos, coalesce((outcome).wasted_nanos, 0),
               (outcome).total_ms, (outcome).first_byte_ms, (outcome).overhead_us, (outcome).finished_at
          FROM item
            ON CONFLICT (created_at, id) DO UPDATE
           SET status = excluded.status,
               error_code = excluded.error_code,
               answered_by = excluded.answered_by,
               validated = excluded.validated,
               model_id = excluded.model_id,
               provider_id = excluded.provider_id,
               baseline_cost_nanos = excluded.baseline_cost_nanos,
               wasted_nanos = excluded.wasted_nanos,
               total_ms = excluded.total_ms,
               first_byte_ms = excluded.first_byte_ms,
               overhead_us = excluded.overhead_us,
               finished_at = excluded.finished_at
         WHERE dispatch.status = 'open'
        RETURNING dispatch.*
    )
    INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome, latency_bucket,
                              dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                              reasoning_tokens, cost_nanos, baseline_cost_nanos, wasted_nanos)
    SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, api_key_id, end_user, task, coalesce(policy_id, 0),
           coalesce(model_id, 0), status, latency_bucket(total_ms), count(*), 0, 0, 0, 0, 0, 0, 0,
           sum(coalesce(baseline_cost_nanos, 0)), sum(wasted_nanos)
      FROM ended
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
$$;
