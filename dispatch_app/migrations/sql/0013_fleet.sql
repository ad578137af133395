-- What the processes that serve tell each other of the fleet. All of it is of the moment: it can be lost, and is learned anew.

-- How long calls took, in slots of ten seconds by the database's clock (`slot` is tens of seconds since 1970). A process adds
-- what it saw since it last did, so a slot changes for about as long as it lasts, and merging is the addition of `calls`.
-- What a bucket stands for says dispatch_app.fleet.histogram.
CREATE TABLE fleet_latency (
    slot      bigint   NOT NULL,
    model_id  bigint   NOT NULL,
    measure   text     NOT NULL,
    bucket    smallint NOT NULL,
    calls     bigint   NOT NULL,
    PRIMARY KEY (slot, model_id, measure, bucket)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- When a model last gave a sign of life, and when it was last called only to keep it warm.
CREATE TABLE fleet_warmth (
    model_id      bigint      PRIMARY KEY,
    last_used_at  timestamptz,
    pinged_at     timestamptz
) WITH (fillfactor = 50);

-- Whether a latency was above its bound when it was last looked at. Who looks first in a round (a count of rounds since 1970)
-- decides it for all processes, so that all of them stay on the same side of the hysteresis.
CREATE TABLE fleet_signal (
    signal      text        PRIMARY KEY,
    holds       boolean     NOT NULL,
    round       bigint      NOT NULL,
    watched_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
