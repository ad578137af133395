-- The log: one row a dispatch, one row an attempt, by day of creation. Rows are written by ledger_begin and closed once
-- by ledger_settle; nothing else writes them. Updates touch no indexed column, so they stay on their page (HOT).

CREATE TABLE dispatch (
    id                   uuid        NOT NULL,
    created_at           timestamptz NOT NULL,
    tenant_id            bigint      NOT NULL,
    api_key_id           bigint      NOT NULL,
    end_user             text        NOT NULL DEFAULT '',
    task                 text        NOT NULL DEFAULT '',
    tags                 jsonb       NOT NULL DEFAULT '{}',
    requested_model      text        NOT NULL,
    policy_id            bigint,
    policy_version       integer     NOT NULL DEFAULT 0,
    rule                 text        NOT NULL DEFAULT '',
    strategy             text        NOT NULL DEFAULT '',
    reason               jsonb       NOT NULL DEFAULT '{}',
    stream               boolean     NOT NULL DEFAULT false,
    status               text        NOT NULL DEFAULT 'open',
    error_code           text        NOT NULL DEFAULT '',
    model_id             bigint,
    provider_id          bigint,
    attempts             smallint    NOT NULL DEFAULT 0,
    input_tokens         bigint      NOT NULL DEFAULT 0,
    cached_input_tokens  bigint      NOT NULL DEFAULT 0,
    cache_write_tokens   bigint      NOT NULL DEFAULT 0,
    output_tokens        bigint      NOT NULL DEFAULT 0,
    reasoning_tokens     bigint      NOT NULL DEFAULT 0,
    cost_nanos           bigint      NOT NULL DEFAULT 0,
    baseline_cost_nanos  bigint,
    estimated            boolean     NOT NULL DEFAULT false,
    total_ms             integer,
    first_byte_ms        integer,
    overhead_us          integer,
    finished_at          timestamptz,
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);

CREATE INDEX dispatch_by_tenant ON dispatch (tenant_id, created_at DESC);
CREATE INDEX dispatch_by_id ON dispatch (id);

CREATE TABLE attempt (
    id                   uuid        NOT NULL,
    created_at           timestamptz NOT NULL,
    dispatch_id          uuid        NOT NULL,
    dispatch_created_at  timestamptz NOT NULL,
    tenant_id            bigint      NOT NULL,
    position             smallint    NOT NULL,
    role                 text        NOT NULL,
    model_id             bigint      NOT NULL,
    provider_id          bigint      NOT NULL,
    price_id             bigint      NOT NULL,
    reserved_nanos       bigint      NOT NULL CHECK (reserved_nanos >= 0),
    -- Rows of budget_balance that carry the reservation; each carries all of it.
    balance_ids          bigint[]    NOT NULL DEFAULT '{}',
    expires_at           timestamptz NOT NULL,
    state                text        NOT NULL DEFAULT 'open',
    wire_status          smallint,
    fault                text        NOT NULL DEFAULT '',
    response_model       text        NOT NULL DEFAULT '',
    input_tokens         bigint      NOT NULL DEFAULT 0,
    cached_input_tokens  bigint      NOT NULL DEFAULT 0,
    cache_write_tokens   bigint      NOT NULL DEFAULT 0,
    output_tokens        bigint      NOT NULL DEFAULT 0,
    reasoning_tokens     bigint      NOT NULL DEFAULT 0,
    cost_nanos           bigint      NOT NULL DEFAULT 0,
    estimated            boolean     NOT NULL DEFAULT false,
    cold                 boolean     NOT NULL DEFAULT false,
    start_offset_ms      integer     NOT NULL DEFAULT 0,
    latency_ms           integer,
    first_byte_ms        integer,
    settled_at           timestamptz,
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);

CREATE INDEX attempt_by_dispatch ON attempt (dispatch_id);

-- Creates the day partitions of both log tables from `first_day` on. Safe to repeat and to run twice at once.
CREATE FUNCTION create_log_partitions(first_day date, days integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    day       date;
    log_table text;
    partition text;
    created   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('signalbox.log_partitions'));
    FOR day IN SELECT (first_day + n) FROM generate_series(0, days - 1) AS n LOOP
        FOREACH log_table IN ARRAY ARRAY['dispatch', 'attempt'] LOOP
            partition := format('%s_%s', log_table, to_char(day, 'YYYYMMDD'));
            IF to_regclass(partition) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 60)',
                    partition, log_table,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
                );
                created := created + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;

SELECT create_log_partitions((now() AT TIME ZONE 'UTC')::date - 1, 16);

-- What a budget has left in one period. The row comes into being with the first reservation; nothing resets it.
CREATE TABLE budget_balance (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget_id      bigint      NOT NULL,
    -- The end user, for a budget that applies to each of them separately.
    subject        text        NOT NULL DEFAULT '',
    period_start   timestamptz NOT NULL,
    -- NULL for a soft budget.
    granted_nanos  bigint,
    settled_nanos  bigint      NOT NULL DEFAULT 0,
    reserved_nanos bigint      NOT NULL DEFAULT 0,
    -- What calls cost above their reservation: never hidden in the balance, raises an alert.
    overage_nanos  bigint      NOT NULL DEFAULT 0,
    CONSTRAINT budget_balance_key UNIQUE (budget_id, subject, period_start),
    CONSTRAINT budget_balance_reserved_not_negative CHECK (reserved_nanos >= 0),
    CONSTRAINT budget_balance_never_overspent CHECK (settled_nanos + reserved_nanos <= granted_nanos)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

-- What the rollups have still to add. Written in the transaction that settles, drained by Celery.
CREATE TABLE rollup_delta (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hour                 timestamptz NOT NULL,
    tenant_id            bigint      NOT NULL,
    api_key_id           bigint      NOT NULL,
    end_user             text        NOT NULL,
    task                 text        NOT NULL,
    policy_id            bigint      NOT NULL,
    model_id             bigint      NOT NULL,
    outcome              text        NOT NULL,
    latency_bucket       smallint,
    dispatches           bigint      NOT NULL,
    attempts             bigint      NOT NULL,
    input_tokens         bigint      NOT NULL,
    cached_input_tokens  bigint      NOT NULL,
    cache_write_tokens   bigint      NOT NULL,
    output_tokens        bigint      NOT NULL,
    reasoning_tokens     bigint      NOT NULL,
    cost_nanos           bigint      NOT NULL,
    baseline_cost_nanos  bigint      NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- Bucket of a duration: four to an octave, so that neighbours differ by 19 %. Buckets merge by addition.
CREATE FUNCTION latency_bucket(duration_ms integer) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT least(95, floor(4 * log(2.0, greatest(duration_ms, 1)::numeric)))::smallint
$$;
