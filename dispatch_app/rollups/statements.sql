-- All statements of the rollups. Each block begins with its name; a block is one statement.


-- drain_started --
-- What the clock says, and the newest delta, before a drain begins: all that is settled by now has an id up to that.
SELECT statement_timestamp() AS at, coalesce(max(id), 0) AS newest_id FROM rollup_delta


-- drain_chunk --
-- Moves up to `most` deltas into the hours, marks their days, and answers how many deltas that was. Deleting and adding
-- commit together, so each delta counts exactly once, however many drainers run and wherever one of them dies.
--
-- Rows are written in the order of their keys, so that two drainers cannot deadlock. `locked` is materialised because a LIMIT
-- that is planned into a nested loop would be taken once for each of its rows.
WITH locked AS MATERIALIZED (
    SELECT id FROM rollup_delta ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM rollup_delta AS delta USING locked WHERE delta.id = locked.id RETURNING delta.*
), local_days AS MATERIALIZED (
    SELECT of_hour.tenant_id, of_hour.hour, local_day(of_hour.hour, coalesce(tenant.time_zone, 'UTC')) AS day
      FROM (SELECT DISTINCT tenant_id, hour FROM taken) AS of_hour
      LEFT JOIN policies_app_tenant AS tenant ON tenant.id = of_hour.tenant_id
), hours AS (
    INSERT INTO rollup_hour AS known (
           tenant_id, hour, day, api_key_id, end_user, task, policy_id, model_id, outcome, dispatches, attempts, input_tokens,
           cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos,
           wasted_nanos)
    SELECT tenant_id, hour, min(day), api_key_id, end_user, task, policy_id, model_id, outcome, sum(dispatches), sum(attempts),
           sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
           sum(cost_nanos), sum(baseline_cost_nanos), sum(wasted_nanos)
      FROM taken JOIN local_days USING (tenant_id, hour)
     GROUP BY tenant_id, hour, api_key_id, end_user, task, policy_id, model_id, outcome
     ORDER BY tenant_id, hour, api_key_id, end_user, task, policy_id, model_id, outcome
        ON CONFLICT (tenant_id, hour, api_key_id, end_user, task, policy_id, model_id, outcome) DO UPDATE
       SET dispatches = known.dispatches + excluded.dispatches,
           attempts = known.attempts + excluded.attempts,
           input_tokens = known.input_tokens + excluded.input_tokens,
           cached_input_tokens = known.cached_input_tokens + excluded.cached_input_tokens,
           cache_write_tokens = known.cache_write_tokens + excluded.cache_write_tokens,
           output_tokens = known.output_tokens + excluded.output_tokens,
           reasoning_tokens = known.reasoning_tokens + excluded.reasoning_tokens,
           cost_nanos = known.cost_nanos + excluded.cost_nanos,
           baseline_cost_nanos = known.baseline_cost_nanos + excluded.baseline_cost_nanos,
           wasted_nanos = known.wasted_nanos + excluded.wasted_nanos
    RETURNING tenant_id, day
), marks AS (
    INSERT INTO rollup_dirty AS known (grain, tenant_id, first_day, since)
    SELECT DISTINCT 'day', tenant_id, day, clock_timestamp() FROM (SELECT DISTINCT tenant_id, day FROM hours) AS changed
     ORDER BY 2, 3
        ON CONFLICT (grain, tenant_id, first_day) DO UPDATE SET since = known.since
), latencies AS (
    INSERT INTO rollup_latency AS known (tenant_id, hour, day, policy_id, model_id, bucket, dispatches)
    SELECT tenant_id, hour, min(day), policy_id, model_id, latency_bucket, sum(dispatches)
      FROM taken JOIN local_days USING (tenant_id, hour)
     WHERE latency_bucket IS NOT NULL AND outcome = 'succeeded'
     GROUP BY tenant_id, hour, policy_id, model_id, latency_bucket
     ORDER BY tenant_id, hour, policy_id, model_id, latency_bucket
        ON CONFLICT (tenant_id, hour, policy_id, model_id, bucket) DO UPDATE
       SET dispatches = known.dispatches + excluded.dispatches
)
SELECT count(*) AS drained FROM taken


-- claim_dirty --
-- Takes up to `most` marks of one grain away. Their buckets are this transaction's alone until it ends: whoever changes one of
-- them meanwhile waits at the mark.
WITH locked AS MATERIALIZED (
    SELECT grain, tenant_id, first_day
      FROM rollup_dirty
     WHERE grain = %(grain)s
     ORDER BY tenant_id, first_day
     LIMIT %(most)s
       FOR UPDATE SKIP LOCKED
)
DELETE FROM rollup_dirty AS dirty
 USING locked
 WHERE (dirty.grain, dirty.tenant_id, dirty.first_day) = (locked.grain, locked.tenant_id, locked.first_day)
RETURNING dirty.tenant_id, dirty.first_day


-- recompute_days --
-- Days anew from their hours, and a mark on their months. A statement of its own, because it has to see what committed before
-- the marks were taken.
WITH claimed AS (
    SELECT * FROM unnest(%(tenant_ids)s::bigint[], %(first_days)s::date[]) AS bucket (tenant_id, day)
), days AS (
    INSERT INTO rollup_day AS known (
           tenant_id, day, api_key_id, end_user, task, policy_id, model_id, outcome, dispatches, attempts, input_tokens,
           cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos,
           wasted_nanos)
    SELECT tenant_id, day, api_key_id, end_user, task, policy_id, model_id, outcome, sum(dispatches), sum(attempts),
           sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
           sum(cost_nanos), sum(baseline_cost_nanos), sum(wasted_nanos)
      FROM claimed JOIN rollup_hour USING (tenant_id, day)
     GROUP BY tenant_id, day, api_key_id, end_user, task, policy_id, model_id, outcome
        ON CONFLICT (tenant_id, day, api_key_id, end_user, task, policy_id, model_id, outcome) DO UPDATE
       SET dispatches = excluded.dispatches,
           attempts = excluded.attempts,
           input_tokens = excluded.input_tokens,
           cached_input_tokens = excluded.cached_input_tokens,
           cache_write_tokens = excluded.cache_write_tokens,
           output_tokens = excluded.output_tokens,
           reasoning_tokens = excluded.reasoning_tokens,
           cost_nanos = excluded.cost_nanos,
           baseline_cost_nanos = excluded.baseline_cost_nanos,
           wasted_nanos = excluded.wasted_nanos
     WHERE (known.attempts, known.dispatches, known.cost_nanos, known.baseline_cost_nanos, known.wasted_nanos, known.input_tokens,
            known.cached_input_tokens, known.cache_write_tokens, known.output_tokens, known.reasoning_tokens)
        IS DISTINCT FROM
           (excluded.attempts, excluded.dispatches, excluded.cost_nanos, excluded.baseline_cost_nanos, excluded.wasted_nanos,
            excluded.input_tokens, excluded.cached_input_tokens, excluded.cache_write_tokens, excluded.output_tokens, excluded.reasoning_tokens)
)
INSERT INTO rollup_dirty AS known (grain, tenant_id, first_day, since)
SELECT DISTINCT 'month', tenant_id, date_trunc('month', day)::date, clock_timestamp()
  FROM (SELECT DISTINCT tenant_id, date_trunc('month', day) AS day FROM claimed) AS changed
 ORDER BY 2, 3
    ON CONFLICT (grain, tenant_id, first_day) DO UPDATE SET since = known.since


-- recompute_months --
-- Months anew from their days.
WITH claimed AS (
    SELECT * FROM unnest(%(tenant_ids)s::bigint[], %(first_days)s::date[]) AS bucket (tenant_id, month)
)
INSERT INTO rollup_month AS known (
       tenant_id, month, api_key_id, end_user, task, policy_id, model_id, outcome, dispatches, attempts, input_tokens,
       cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos,
       wasted_nanos)
SELECT claimed.tenant_id, claimed.month, api_key_id, end_user, task, policy_id, model_id, outcome, sum(dispatches),
       sum(attempts), sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens), sum(output_tokens),
       sum(reasoning_tokens), sum(cost_nanos), sum(baseline_cost_nanos), sum(wasted_nanos)
  FROM claimed
  JOIN rollup_day AS of_day
    ON of_day.tenant_id = claimed.tenant_id
   AND of_day.day >= claimed.month AND of_day.day < (claimed.month + interval '1 month')::date
 GROUP BY claimed.tenant_id, claimed.month, api_key_id, end_user, task, policy_id, model_id, outcome
    ON CONFLICT (tenant_id, month, api_key_id, end_user, task, policy_id, model_id, outcome) DO UPDATE
   SET dispatches = excluded.dispatches,
       attempts = excluded.attempts,
       input_tokens = excluded.input_tokens,
       cached_input_tokens = excluded.cached_input_tokens,
       cache_write_tokens = excluded.cache_write_tokens,
       output_tokens = excluded.output_tokens,
       reasoning_tokens = excluded.reasoning_tokens,
       cost_nanos = excluded.cost_nanos,
       baseline_cost_nanos = excluded.baseline_cost_nanos,
       wasted_nanos = excluded.wasted_nanos
 WHERE (known.attempts, known.dispatches, known.cost_nanos, known.baseline_cost_nanos, known.wasted_nanos, known.input_tokens,
        known.cached_input_tokens, known.cache_write_tokens, known.output_tokens, known.reasoning_tokens)
    IS DISTINCT FROM
       (excluded.attempts, excluded.dispatches, excluded.cost_nanos, excluded.baseline_cost_nanos, excluded.wasted_nanos,
        excluded.input_tokens, excluded.cached_input_tokens, excluded.cache_write_tokens, excluded.output_tokens, excluded.reasoning_tokens)


-- advance_watermark --
-- Notes that the figures hold everything settled before `at`, if no delta of that time is left (another drainer may have taken
-- some and died) and no bucket waits for its recompute.
UPDATE rollup_watermark
   SET figures_until = greatest(figures_until, %(at)s)
 WHERE NOT EXISTS (SELECT FROM rollup_delta WHERE id <= %(newest_id)s)
   AND NOT EXISTS (SELECT FROM rollup_dirty)


-- lag --
-- How far the figures go and what they lack. The count stops at `most`.
SELECT figures_until,
       (SELECT count(*) FROM (SELECT FROM rollup_delta LIMIT %(most)s) AS counted) AS pending,
       EXISTS (SELECT FROM rollup_dirty) AS has_dirty,
       statement_timestamp() AS now
  FROM rollup_watermark


-- days_ahead --
-- Up to which day both log tables have their partitions without a gap, from `today` on; NULL if today's is missing.
SELECT max(day)::date AS last_day
  FROM (SELECT day, row_number() OVER (ORDER BY day) AS place
          FROM generate_series(%(today)s::date, %(today)s::date + 400, interval '1 day') AS day
         WHERE to_regclass('dispatch_' || to_char(day, 'YYYYMMDD')) IS NOT NULL
           AND to_regclass('attempt_' || to_char(day, 'YYYYMMDD')) IS NOT NULL) AS existing
 WHERE day = %(today)s::date + (place - 1) * interval '1 day'


-- create_partitions --
SELECT create_log_partitions(%(first_day)s, %(days)s) AS created


-- partitions_before --
-- Day partitions of the log from before `first_kept`, oldest first; also those whose removal was interrupted half-way.
SELECT partition.relname AS name, split_part(partition.relname, '_', 1) AS log_table,
       to_date(right(partition.relname, 8), 'YYYYMMDD') AS day,
       link.inhrelid IS NOT NULL AS is_attached, coalesce(link.inhdetachpending, false) AS is_half_detached
  FROM pg_class AS partition
  LEFT JOIN pg_inherits AS link ON link.inhrelid = partition.oid
 WHERE partition.relkind = 'r'
   AND partition.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'dispatch'::regclass)
   AND partition.relname ~ '^(dispatch|attempt)_\d{8}$'
   AND to_date(right(partition.relname, 8), 'YYYYMMDD') < %(first_kept)s::date
 ORDER BY day, log_table


-- is_day_closed --
-- Whether a UTC day has nothing open and nothing that the rollups have still to add.
SELECT NOT EXISTS (SELECT FROM attempt WHERE created_at >= %(start)s AND created_at < %(end)s AND state = 'open')
   AND NOT EXISTS (SELECT FROM dispatch WHERE created_at >= %(start)s AND created_at < %(end)s AND status = 'open')
   AND NOT EXISTS (SELECT FROM rollup_delta WHERE hour >= %(start)s AND hour < %(end)s) AS is_closed


-- log_covers --
-- `log_since`: from when on the log is there; `since`: the same with what is remembered of it; whether older days were dropped
-- unproven; `read_from`: where the memory ends and the log is read.
WITH begun AS (
    SELECT min(to_date(right(partition.relname, 8), 'YYYYMMDD'))::timestamp AT TIME ZONE 'UTC' AS log_since
      FROM pg_inherits AS link
      JOIN pg_class AS partition ON partition.oid = link.inhrelid
     WHERE link.inhparent = 'attempt'::regclass
), memory AS (
    SELECT min(day)::timestamp AT TIME ZONE 'UTC' AS since, (max(day) + 1)::timestamp AT TIME ZONE 'UTC' AS until
      FROM reconciled_day
)
SELECT log_since, least(log_since, memory.since) AS since,
       EXISTS (SELECT FROM rollup_hour WHERE hour < least(log_since, memory.since)) AS is_log_shortened,
       coalesce(memory.until, log_since) AS read_from
  FROM begun CROSS JOIN memory


-- remembered_days_differ --
-- Remembered days that the figures do not agree with any more: something was corrected since, or tampered with.
WITH counted AS (
    SELECT tenant_id, (hour AT TIME ZONE 'UTC')::date AS day, sum(attempts) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens) AS tokens
      FROM (SELECT tenant_id, hour, attempts, cost_nanos, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                   reasoning_tokens
              FROM rollup_hour
             WHERE hour >= %(since)s AND hour < %(read_from)s
             UNION ALL
            SELECT tenant_id, hour, attempts, cost_nanos, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                   reasoning_tokens
              FROM rollup_delta
             WHERE hour >= %(since)s AND hour < %(read_from)s) AS both_kinds
     GROUP BY 1, 2
)
SELECT day::timestamp AT TIME ZONE 'UTC' AS start, format('tenant %%s, day %%s', tenant_id, day) AS subject, measure, expected,
       found
  FROM reconciled_tenant_day AS known FULL JOIN counted USING (tenant_id, day)
 CROSS JOIN LATERAL (VALUES
           ('attempts', coalesce(known.attempts, 0), coalesce(counted.attempts, 0)),
           ('cost_nanos', coalesce(known.cost_nanos, 0), coalesce(counted.cost_nanos, 0)),
           ('tokens', coalesce(known.tokens, 0), coalesce(counted.tokens, 0))) AS pair (measure, expected, found)
 WHERE expected <> found
 ORDER BY 1, 2


-- first_day_not_provable --
-- The first UTC day that is not over for good: too young, or with something open or still to be added.
SELECT least(
           date_trunc('day', %(now)s::timestamptz - interval '2 days', 'UTC'),
           (SELECT date_trunc('day', min(created_at), 'UTC') FROM attempt
             WHERE created_at >= %(read_from)s AND state = 'open'),
           (SELECT date_trunc('day', min(created_at), 'UTC') FROM dispatch
             WHERE created_at >= %(read_from)s AND status = 'open'),
           (SELECT date_trunc('day', min(hour), 'UTC') FROM rollup_delta WHERE hour >= %(read_from)s)) AS until


-- forget_days --
DELETE FROM reconciled_day WHERE day >= (%(read_from)s::timestamptz AT TIME ZONE 'UTC')::date


-- remember_days --
INSERT INTO reconciled_day (day, proven_at)
SELECT day::date, %(now)s
  FROM generate_series(%(read_from)s::timestamptz AT TIME ZONE 'UTC',
                       %(until)s::timestamptz AT TIME ZONE 'UTC' - interval '1 day', interval '1 day') AS day


-- remember_tenants --
INSERT INTO reconciled_tenant_day (day, tenant_id, attempts, cost_nanos, tokens, dispatches)
SELECT day, tenant_id, sum(attempts), sum(cost_nanos), sum(tokens), sum(dispatches)
  FROM (SELECT (created_at AT TIME ZONE 'UTC')::date AS day, tenant_id, count(*) AS attempts, sum(cost_nanos) AS cost_nanos,
               sum(input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens) AS tokens,
               0 AS dispatches
          FROM attempt
         WHERE created_at >= %(read_from)s AND created_at < %(until)s
         GROUP BY 1, 2
         UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, tenant_id, 0, 0, 0, count(*)
          FROM dispatch
         WHERE created_at >= %(read_from)s AND created_at < %(until)s
         GROUP BY 1, 2) AS both_kinds
 GROUP BY 1, 2


-- remember_balances --
INSERT INTO reconciled_balance_day (day, balance_id, cost_nanos)
SELECT (created_at AT TIME ZONE 'UTC')::date, balance_id, sum(cost_nanos)
  FROM attempt CROSS JOIN unnest(balance_ids) AS balance_id
 WHERE created_at >= %(read_from)s AND created_at < %(until)s
 GROUP BY 1, 2


-- open_attempts_by_age --
-- How many attempts are open, by how long; looks no further back than the expiry sweep does.
SELECT count(*) AS total, min(created_at) AS oldest_at,
       count(*) FILTER (WHERE created_at > %(now)s::timestamptz - interval '1 minute') AS under_1_min,
       count(*) FILTER (WHERE created_at <= %(now)s::timestamptz - interval '1 minute'
                          AND created_at > %(now)s::timestamptz - interval '5 minutes') AS under_5_min,
       count(*) FILTER (WHERE created_at <= %(now)s::timestamptz - interval '5 minutes'
                          AND created_at > %(now)s::timestamptz - interval '15 minutes') AS under_15_min,
       count(*) FILTER (WHERE created_at <= %(now)s::timestamptz - interval '15 minutes') AS over_15_min,
       count(*) FILTER (WHERE expires_at < %(now)s::timestamptz) AS overdue
  FROM attempt
 WHERE created_at >= (SELECT swept_until FROM ledger_sweep) AND state = 'open'


-- adjust_closed_months --
-- A month that is over for three days is closed: its sum is noted. Whatever changes it later stands as a line of its own beside
-- that sum, so that what finance has taken from it is never rewritten unseen. Answers the new lines.
WITH sums AS (
    SELECT tenant_id, month, sum(cost_nanos) AS cost_nanos
      FROM rollup_month
     WHERE month + interval '1 month 3 days' < (%(now)s::timestamptz AT TIME ZONE 'UTC')
       AND NOT EXISTS (SELECT FROM rollup_dirty AS dirty
                        WHERE dirty.tenant_id = rollup_month.tenant_id
                          AND date_trunc('month', dirty.first_day)::date = rollup_month.month)
     GROUP BY 1, 2
), newly_closed AS (
    INSERT INTO closed_month (tenant_id, month, cost_nanos, closed_at)
    SELECT tenant_id, month, cost_nanos, %(now)s FROM sums
        ON CONFLICT DO NOTHING
)
INSERT INTO closed_month_adjustment (tenant_id, month, cost_nanos, noted_at)
SELECT closed.tenant_id, closed.month,
       coalesce(sums.cost_nanos, 0) - closed.cost_nanos - coalesce(adjusted.cost_nanos, 0), %(now)s
  FROM closed_month AS closed
  JOIN sums USING (tenant_id, month)
  LEFT JOIN (SELECT tenant_id, month, sum(cost_nanos) AS cost_nanos
               FROM closed_month_adjustment GROUP BY 1, 2) AS adjusted USING (tenant_id, month)
 WHERE coalesce(sums.cost_nanos, 0) <> closed.cost_nanos + coalesce(adjusted.cost_nanos, 0)
RETURNING id, tenant_id, month, cost_nanos


-- recent_adjustments --
SELECT adjustment.tenant_id, tenant.name AS tenant_name, month, adjustment.cost_nanos, noted_at
  FROM closed_month_adjustment AS adjustment
  LEFT JOIN policies_app_tenant AS tenant ON tenant.id = adjustment.tenant_id
 ORDER BY adjustment.id DESC
 LIMIT 20


-- log_differs_from_rollups --
-- Hours of tenants in which the log's closed attempts do not add up to the rollups and what they have still to add.
WITH logged AS (
    SELECT tenant_id, date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens) AS tokens
      FROM attempt
     WHERE created_at >= %(read_from)s AND state <> 'open'
     GROUP BY 1, 2
), counted AS (
    SELECT tenant_id, hour, sum(attempts) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(input_tokens + cached_input_tokens + cache_write_tokens + output_tokens + reasoning_tokens) AS tokens
      FROM (SELECT tenant_id, hour, attempts, cost_nanos, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                   reasoning_tokens
              FROM rollup_hour
             WHERE hour >= %(read_from)s
             UNION ALL
            SELECT tenant_id, hour, attempts, cost_nanos, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
                   reasoning_tokens
              FROM rollup_delta
             WHERE hour >= %(read_from)s) AS both_kinds
     GROUP BY 1, 2
)
SELECT format('tenant %%s, hour %%s', tenant_id, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')) AS subject, measure,
       expected, found
  FROM logged FULL JOIN counted USING (tenant_id, hour)
 CROSS JOIN LATERAL (VALUES
           ('attempts', coalesce(logged.attempts, 0), coalesce(counted.attempts, 0)),
           ('cost_nanos', coalesce(logged.cost_nanos, 0), coalesce(counted.cost_nanos, 0)),
           ('tokens', coalesce(logged.tokens, 0), coalesce(counted.tokens, 0))) AS pair (measure, expected, found)
 WHERE expected <> found
 ORDER BY 1, 2


-- ended_dispatches_differ --
-- Tenants whose ended dispatches in the log are not those of the rollups. A dispatch counts in the hour of its last attempt,
-- so one that began before the log does cannot be told apart; where there is one, the tenant is left out.
WITH logged AS (
    SELECT tenant_id, sum(dispatches) AS dispatches
      FROM (SELECT tenant_id, dispatches FROM reconciled_tenant_day
             WHERE day < (%(read_from)s::timestamptz AT TIME ZONE 'UTC')::date
             UNION ALL
            SELECT tenant_id, count(*) FROM dispatch
             WHERE created_at >= %(read_from)s AND status <> 'open' GROUP BY 1) AS both_kinds
     GROUP BY 1
), counted AS (
    SELECT tenant_id, sum(dispatches) AS dispatches
      FROM (SELECT tenant_id, dispatches FROM rollup_hour WHERE hour >= %(since)s
             UNION ALL
            SELECT tenant_id, dispatches FROM rollup_delta WHERE hour >= %(since)s) AS both_kinds
     GROUP BY 1
)
SELECT format('tenant %%s', tenant_id) AS subject, 'dispatches' AS measure, coalesce(logged.dispatches, 0) AS expected,
       coalesce(counted.dispatches, 0) AS found
  FROM logged FULL JOIN counted USING (tenant_id)
 WHERE coalesce(logged.dispatches, 0) <> coalesce(counted.dispatches, 0)
   AND tenant_id NOT IN (SELECT tenant_id FROM attempt
                          WHERE dispatch_created_at < %(since)s
                            AND created_at < %(since)s::timestamptz + interval '1 day')
 ORDER BY 1


-- dispatches_differ_from_attempts --
-- Dispatches whose cost is not the sum of their attempts'.
SELECT format('dispatch %%s', dispatch.id) AS subject, 'cost_nanos' AS measure, coalesce(sum(attempt.cost_nanos), 0) AS expected,
       dispatch.cost_nanos AS found
  FROM dispatch
  LEFT JOIN attempt ON attempt.dispatch_id = dispatch.id AND attempt.dispatch_created_at = dispatch.created_at
                   AND attempt.created_at >= %(read_from)s
 WHERE dispatch.created_at >= %(read_from)s
 GROUP BY dispatch.id, dispatch.created_at, dispatch.cost_nanos
HAVING coalesce(sum(attempt.cost_nanos), 0) <> dispatch.cost_nanos
 ORDER BY 1


-- budgets_differ_from_log --
-- Balances that do not carry exactly what their attempts cost and reserve, of periods that the log, or the memory of it, covers
-- whole. Nothing of a remembered day is open.
WITH carried AS (
    SELECT balance_id, sum(cost_nanos) AS cost_nanos, sum(reserved_nanos) AS reserved_nanos
      FROM (SELECT balance_id, cost_nanos, CASE WHEN state = 'open' THEN reserved_nanos ELSE 0 END AS reserved_nanos
              FROM attempt CROSS JOIN unnest(balance_ids) AS balance_id
             WHERE created_at >= %(read_from)s
             UNION ALL
            SELECT balance_id, cost_nanos, 0 FROM reconciled_balance_day
             WHERE day < (%(read_from)s::timestamptz AT TIME ZONE 'UTC')::date) AS both_kinds
     GROUP BY balance_id
)
SELECT format('balance %%s, budget %%s%%s from %%s', balance.id, balance.budget_id, nullif(' of ' || balance.subject, ' of '),
              to_char(balance.period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')) AS subject,
       measure, expected, found
  FROM budget_balance AS balance
  LEFT JOIN carried ON carried.balance_id = balance.id
 CROSS JOIN LATERAL (VALUES
           ('spent_nanos', coalesce(carried.cost_nanos, 0), (balance.settled_nanos + balance.overage_nanos)::numeric),
           ('reserved_nanos', coalesce(carried.reserved_nanos, 0), balance.reserved_nanos::numeric)
       ) AS pair (measure, expected, found)
 WHERE expected <> found
   AND (balance.period_start >= %(since)s OR NOT %(is_log_shortened)s)
 ORDER BY 1, 2


-- days_differ_from_hours --
-- Days that are not the sum of their hours, though nothing marks them.
WITH hours AS (
    SELECT tenant_id, day, sum(dispatches) AS dispatches, sum(attempts) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(baseline_cost_nanos) AS baseline_cost_nanos, sum(wasted_nanos) AS wasted_nanos
      FROM rollup_hour GROUP BY 1, 2
), days AS (
    SELECT tenant_id, day, sum(dispatches) AS dispatches, sum(attempts) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(baseline_cost_nanos) AS baseline_cost_nanos, sum(wasted_nanos) AS wasted_nanos
      FROM rollup_day GROUP BY 1, 2
)
SELECT format('tenant %%s, day %%s', tenant_id, day) AS subject, measure, expected, found
  FROM hours FULL JOIN days USING (tenant_id, day)
 CROSS JOIN LATERAL (VALUES
           ('dispatches', coalesce(hours.dispatches, 0), coalesce(days.dispatches, 0)),
           ('attempts', coalesce(hours.attempts, 0), coalesce(days.attempts, 0)),
           ('cost_nanos', coalesce(hours.cost_nanos, 0), coalesce(days.cost_nanos, 0)),
           ('baseline_cost_nanos', coalesce(hours.baseline_cost_nanos, 0), coalesce(days.baseline_cost_nanos, 0)),
           ('wasted_nanos', coalesce(hours.wasted_nanos, 0), coalesce(days.wasted_nanos, 0))
       ) AS pair (measure, expected, found)
 WHERE expected <> found
   AND NOT EXISTS (SELECT FROM rollup_dirty AS dirty
                    WHERE dirty.grain = 'day' AND dirty.tenant_id = coalesce(hours.tenant_id, days.tenant_id)
                      AND dirty.first_day = coalesce(hours.day, days.day))
 ORDER BY 1, 2


-- months_differ_from_days --
-- Months that are not the sum of their days, though nothing marks them.
WITH days AS (
    SELECT tenant_id, date_trunc('month', day)::date AS month, sum(dispatches) AS dispatches, sum(attempts) AS attempts,
           sum(cost_nanos) AS cost_nanos, sum(baseline_cost_nanos) AS baseline_cost_nanos, sum(wasted_nanos) AS wasted_nanos
      FROM rollup_day GROUP BY 1, 2
), months AS (
    SELECT tenant_id, month, sum(dispatches) AS dispatches, sum(attempts) AS attempts, sum(cost_nanos) AS cost_nanos,
           sum(baseline_cost_nanos) AS baseline_cost_nanos, sum(wasted_nanos) AS wasted_nanos
      FROM rollup_month GROUP BY 1, 2
)
SELECT format('tenant %%s, month %%s', tenant_id, to_char(month, 'YYYY-MM')) AS subject, measure, expected, found
  FROM days FULL JOIN months USING (tenant_id, month)
 CROSS JOIN LATERAL (VALUES
           ('dispatches', coalesce(days.dispatches, 0), coalesce(months.dispatches, 0)),
           ('attempts', coalesce(days.attempts, 0), coalesce(months.attempts, 0)),
           ('cost_nanos', coalesce(days.cost_nanos, 0), coalesce(months.cost_nanos, 0)),
           ('baseline_cost_nanos', coalesce(days.baseline_cost_nanos, 0), coalesce(months.baseline_cost_nanos, 0)),
           ('wasted_nanos', coalesce(days.wasted_nanos, 0), coalesce(months.wasted_nanos, 0))
       ) AS pair (measure, expected, found)
 WHERE expected <> found
   AND NOT EXISTS (SELECT FROM rollup_dirty AS dirty
                    WHERE dirty.grain = 'month' AND dirty.tenant_id = coalesce(days.tenant_id, months.tenant_id)
                      AND dirty.first_day = coalesce(days.month, months.month))
 ORDER BY 1, 2


-- latencies_differ_from_hours --
-- Hours of tenants whose histograms do not hold exactly the answered dispatches.
WITH measured AS (
    SELECT tenant_id, hour, sum(dispatches) AS dispatches FROM rollup_latency GROUP BY 1, 2
), answered AS (
    SELECT tenant_id, hour, sum(dispatches) AS dispatches FROM rollup_hour WHERE outcome = 'succeeded' GROUP BY 1, 2
)
SELECT format('tenant %%s, hour %%s', tenant_id, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')) AS subject,
       'dispatches' AS measure, coalesce(answered.dispatches, 0) AS expected, coalesce(measured.dispatches, 0) AS found
  FROM answered FULL JOIN measured USING (tenant_id, hour)
 WHERE coalesce(answered.dispatches, 0) <> coalesce(measured.dispatches, 0)
 ORDER BY 1
