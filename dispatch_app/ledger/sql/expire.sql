-- Expires what its process never settled: each such attempt is charged what it reserved, because the vendor may have billed
-- it, and its dispatch ends as expired. Answers how many attempts and dispatches that were.
--
-- Looks only at rows since the watermark: nothing older is open, because the watermark never passes an open row.
CREATE OR REPLACE FUNCTION ledger_expire(at timestamptz, most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    since       timestamptz;
    held        uuid[];
    settlements jsonb;
    earliest    timestamptz;
    latest      timestamptz;
    finishes    jsonb;
    expired     integer;
BEGIN
    SELECT swept_until INTO since FROM ledger_sweep FOR UPDATE;

    -- Locked before anything is looked at, so that none of them begins an attempt meanwhile (see ledger_begin). What is in use
    -- just now waits for the next sweep.
    SELECT coalesce(array_agg(overdue.id), '{}')
      INTO held
      FROM (SELECT dispatch.id
              FROM dispatch
             WHERE dispatch.created_at >= since AND dispatch.status = 'open'
               AND (dispatch.created_at < at - interval '15 minutes'
                    OR EXISTS (SELECT FROM attempt
                                WHERE attempt.dispatch_id = dispatch.id AND attempt.state = 'open' AND attempt.expires_at < at))
             ORDER BY dispatch.created_at, dispatch.id
             LIMIT most
               FOR UPDATE SKIP LOCKED) AS overdue;

    SELECT coalesce(jsonb_agg(
               jsonb_build_object(
                   'attempt_id', lost.id, 'attempt_created_at', lost.created_at, 'state', 'expired', 'fault', 'expired',
                   'response_model', '', 'cost_nanos', lost.reserved_nanos, 'estimated', true, 'settled_at', at)
               || CASE WHEN lost.is_last THEN jsonb_build_object(
                   'outcome', 'expired', 'error_code', 'expired', 'model_id', lost.model_id,
                   'provider_id', lost.provider_id, 'finished_at', at,
                   'total_ms', least(extract(epoch FROM at - lost.dispatch_created_at) * 1000, 2147483647)::integer)
                  ELSE '{}' END), '[]'),
           min(lost.created_at), max(lost.created_at)
      INTO settlements, earliest, latest
      FROM (SELECT attempt.*,
                   attempt.dispatch_id = ANY (held)
                   AND NOT EXISTS (SELECT FROM attempt AS other
                                    WHERE other.dispatch_id = attempt.dispatch_id
                                      AND (other.position > attempt.position
                                           OR other.state = 'open' AND other.expires_at >= at)) AS is_last
              FROM attempt
              JOIN dispatch ON dispatch.created_at = attempt.dispatch_created_at AND dispatch.id = attempt.dispatch_id
             WHERE attempt.created_at >= since AND attempt.state = 'open' AND attempt.expires_at < at
               AND (attempt.dispatch_id = ANY (held) OR dispatch.status <> 'open')
             ORDER BY attempt.created_at, attempt.id
             LIMIT most
               FOR UPDATE OF attempt SKIP LOCKED) AS lost;

    -- A process that died between two attempts left the dispatch open with nothing to settle.
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'dispatch', to_jsonb(orphan), 'outcome', jsonb_build_object(
                   'status', 'expired', 'error_code', 'expired', 'finished_at', at,
                   'total_ms', least(extract(epoch FROM at - orphan.created_at) * 1000, 2147483647)::integer))), '[]')
      INTO finishes
      FROM (SELECT dispatch.*
              FROM dispatch
             WHERE dispatch.created_at >= since AND dispatch.created_at < at - interval '15 minutes'
               AND dispatch.id = ANY (held)
               AND NOT EXISTS (SELECT FROM attempt WHERE attempt.dispatch_id = dispatch.id AND attempt.state = 'open')
             ORDER BY dispatch.created_at, dispatch.id) AS orphan;

    PERFORM ledger_settle(settlements::json, finishes::json, earliest, latest);
    expired := jsonb_array_length(settlements) + jsonb_array_length(finishes);

    -- Five minutes cover what is being committed with an earlier creation time. A clock that ran ahead must not hide what is to come.
    UPDATE ledger_sweep
       SET swept_until = greatest(since, least(
               least(at, clock_timestamp()) - interval '5 minutes',
               (SELECT min(created_at) FROM attempt WHERE created_at >= since AND state = 'open'),
               (SELECT min(created_at) FROM dispatch WHERE created_at >= since AND status = 'open')));
    RETURN expired;
END $$;
