-- Figures for finance. Hours are UTC. Days and months are the tenant's own: each row of an hour belongs to the day, in the
-- tenant's time zone, in which the hour begins. The day is fixed with the row, so a tenant that moves to another time zone
-- rewrites no closed day, and every row is in exactly one day and month.
--
-- Where the zone's offset is no whole number of hours, the hour around midnight counts wholly to the day in which it begins.

CREATE TABLE rollup_hour (
    tenant_id            bigint      NOT NULL,
    hour                 timestamptz NOT NULL,
    day                  date        NOT NULL,
    api_key_id           bigint      NOT NULL,
    end_user             text        NOT NULL,
    task                 text        NOT NULL,
    policy_id            bigint      NOT NULL,
    model_id             bigint      NOT NULL,
    outcome              text        NOT NULL,
    dispatches           bigint      NOT NULL,
    attempts             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_nanos           bigint      NOT NULL,
    baseline_cost_nanos  bigint      NOT NULL,
    PRIMARY KEY (tenant_id, hour, api_key_id, end_user, task, policy_id, model_id, outcome)
) WITH (fillfactor = 80);
CREATE INDEX rollup_hour_by_day ON rollup_hour (tenant_id, day);

CREATE TABLE rollup_day (
    tenant_id            bigint      NOT NULL,
    day                  date        NOT NULL,
    api_key_id           bigint      NOT NULL,
    end_user             text        NOT NULL,
    task                 text        NOT NULL,
    policy_id            bigint      NOT NULL,
    model_id             bigint      NOT NULL,
    outcome              text        NOT NULL,
    dispatches           bigint      NOT NULL,
    attempts             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_nanos           bigint      NOT NULL,
    baseline_cost_nanos  bigint      NOT NULL,
    PRIMARY KEY (tenant_id, day, api_key_id, end_user, task, policy_id, model_id, outcome)
) WITH (fillfactor = 80);

-- `month` is the first of the month.
CREATE TABLE rollup_month (
    tenant_id            bigint      NOT NULL,
    month                date        NOT NULL,
    api_key_id           bigint      NOT NULL,
    end_user             text        NOT NULL,
    task                 text        NOT NULL,
    policy_id            bigint      NOT NULL,
    model_id             bigint      NOT NULL,
    outcome              text        NOT NULL,
    dispatches           bigint      NOT NULL,
    attempts             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_nanos           bigint      NOT NULL,
    baseline_cost_nanos  bigint      NOT NULL,
    PRIMARY KEY (tenant_id, month, api_key_id, end_user, task, policy_id, model_id, outcome)
) WITH (fillfactor = 80);

-- How long answered dispatches took, as histograms that merge by addition (see latency_bucket). Percentiles are never averaged.
CREATE TABLE rollup_latency (
    tenant_id   bigint      NOT NULL,
    hour        timestamptz NOT NULL,
    day         date        NOT NULL,
    policy_id   bigint      NOT NULL,
    model_id    bigint      NOT NULL,
    bucket      smallint    NOT NULL,
    dispatches  bigint      NOT NULL,
    PRIMARY KEY (tenant_id, hour, policy_id, model_id, bucket)
) WITH (fillfactor = 80);
CREATE INDEX rollup_latency_by_day ON rollup_latency (tenant_id, day);

-- Days and months whose finer rows have changed since they were computed. `since` tells when, and its update takes the lock
-- that keeps a recompute from taking the mark away before the change has committed.
CREATE TABLE rollup_dirty (
    grain      text        NOT NULL CHECK (grain IN ('day', 'month')),
    tenant_id  bigint      NOT NULL,
    first_day  date        NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (grain, tenant_id, first_day)
);

-- Everything settled before `figures_until` is in the figures.
CREATE TABLE rollup_watermark (
    only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    figures_until timestamptz NOT NULL
);
INSERT INTO rollup_watermark (figures_until) VALUES (now());

-- The date in that time zone. PostgreSQL may not know a zone that Python knows: such a tenant's days are UTC's, and one
-- tenant's zone never stops the drain of the others.
CREATE FUNCTION local_day(at timestamptz, zone text) RETURNS date LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (at AT TIME ZONE zone)::date;
EXCEPTION WHEN invalid_parameter_value OR null_value_not_allowed THEN
    RETURN (at AT TIME ZONE 'UTC')::date;
END $$;
