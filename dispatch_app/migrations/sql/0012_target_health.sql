-- What the processes that serve say of their targets, for people, for monitoring, and in part for each other. All of it is of
-- the moment and written anew every two seconds, so nothing of it is worth a write-ahead log.

-- One target as one process sees it. A target is a model, called with one credential in one region.
CREATE UNLOGGED TABLE target_health (
    process_id           uuid        NOT NULL,
    provider_id          bigint      NOT NULL,
    credential           text        NOT NULL,
    model_id             bigint      NOT NULL,
    region               text        NOT NULL,
    provider             text        NOT NULL,
    model                text        NOT NULL,
    state                text        NOT NULL,
    -- Why it is not healthy, empty if it is.
    cause                text        NOT NULL,
    since                timestamptz,
    until                timestamptz,
    -- Told by another process.
    is_learned           boolean     NOT NULL,
    is_being_probed      boolean     NOT NULL,
    provider_is_degraded boolean     NOT NULL,
    consecutive_failures integer     NOT NULL,
    -- What the breaker goes by, of the last 30 seconds.
    window_calls         integer     NOT NULL,
    window_failures      integer     NOT NULL,
    -- Of the last five minutes.
    calls                integer     NOT NULL,
    failures             integer     NOT NULL,
    last_fault           text        NOT NULL,
    last_wire_status     smallint,
    -- What the other processes take over, empty if it is this one's own affair.
    shared_cause         text        NOT NULL,
    shared_until         timestamptz,
    seen_at              timestamptz NOT NULL,
    PRIMARY KEY (process_id, provider_id, credential, model_id, region)
) WITH (fillfactor = 50);

-- What one process has in hand, and how many retries and hedges it may still make.
CREATE UNLOGGED TABLE process_load (
    process_id   uuid        PRIMARY KEY,
    in_flight    integer     NOT NULL,
    retries_left integer     NOT NULL,
    hedges_left  integer     NOT NULL,
    seen_at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Counters that only ever grow: each process adds what it counted since it last did, so they outlive it.
-- `model_id` is 0 where the counter is of no model.
CREATE UNLOGGED TABLE metric_count (
    metric   text   NOT NULL,
    model_id bigint NOT NULL,
    label    text   NOT NULL,
    value    bigint NOT NULL,
    PRIMARY KEY (metric, model_id, label)
) WITH (fillfactor = 50);
