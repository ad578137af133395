-- What became of attempts, as ledger_settle takes it: their columns, and those of the dispatch where they end it. What is left
-- out is nothing, zero or false.
-- Dropped first, since PostgreSQL does not let a replacement have other columns.
DROP FUNCTION IF EXISTS ledger_settlements;
CREATE FUNCTION ledger_settlements(settlements json)
RETURNS TABLE (
    attempt_id uuid, attempt_created_at timestamptz, state text, wire_status smallint, fault text, response_model text,
    validation jsonb, input_tokens bigint, cached_input_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, cost_nanos bigint, estimated boolean, cold boolean, latency_ms integer, first_byte_ms integer,
    settled_at timestamptz, outcome text, error_code text, answered_by smallint, validated boolean, model_id bigint,
    provider_id bigint, baseline_cost_nanos bigint, wasted_nanos bigint, total_ms integer, dispatch_first_byte_ms integer,
    overhead_us integer, finished_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT told.attempt_id, told.attempt_created_at, told.state, told.wire_status, coalesce(told.fault, ''), told.response_model,
           coalesce(told.validation, '[]'), coalesce(told.input_tokens, 0), coalesce(told.cached_input_tokens, 0),
           coalesce(told.cache_write_tokens, 0), coalesce(told.output_tokens, 0), coalesce(told.reasoning_tokens, 0),
           coalesce(told.cost_nanos, 0), coalesce(told.estimated, false), coalesce(told.cold, false), told.latency_ms,
           told.first_byte_ms, told.settled_at, told.outcome, told.error_code, told.answered_by, told.validated,
           told.model_id, told.provider_id, told.baseline_cost_nanos, told.wasted_nanos, told.total_ms,
           told.dispatch_first_byte_ms, told.overhead_us, told.finished_at
      FROM json_to_recordset(settlements) AS told (
               attempt_id uuid, attempt_created_at timestamptz, state text, wire_status smallint, fault text, response_model text,
               validation jsonb, input_tokens bigint, cached_input_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
               reasoning_tokens bigint, cost_nanos bigint, estimated boolean, cold boolean, latency_ms integer,
               first_byte_ms integer, settled_at timestamptz, outcome text, error_code text, answered_by smallint,
               validated boolean, model_id bigint, provider_id bigint, baseline_cost_nanos bigint, wasted_nanos bigint,
               total_ms integer, dispatch_first_byte_ms integer, overhead_us integer, finished_at timestamptz)
$$;
