-- How far rate limits are used. Neither logged nor flushed: after a crash of the database everybody starts with a full bucket.

-- What asks for one limit queue at. `full_at` is when its bucket will be full again, in seconds since 1970.
CREATE UNLOGGED TABLE rate_limit_level (
    rate_limit_id bigint PRIMARY KEY,
    full_at       float8 NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

-- How many dispatches at once each process has, which a lock of its connection shows to be alive.
CREATE UNLOGGED TABLE rate_limit_slot (
    rate_limit_id bigint  NOT NULL,
    holder        integer NOT NULL,
    in_use        bigint  NOT NULL,
    PRIMARY KEY (rate_limit_id, holder)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

CREATE SEQUENCE rate_limit_holder AS integer CYCLE;

CREATE TRIGGER ratelimit_bumps_epoch AFTER INSERT OR UPDATE OR DELETE ON policies_app_ratelimit
    FOR EACH STATEMENT EXECUTE FUNCTION bump_control_epoch();
