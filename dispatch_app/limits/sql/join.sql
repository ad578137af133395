-- Makes the connection the one of a process that holds slots, for as long as it lasts: the lock shows that the process is
-- alive. A process that comes back after its connection broke says who it was; what it holds it tells again.
CREATE OR REPLACE FUNCTION rate_limit_join(known integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    me integer := coalesce(known, nextval('rate_limit_holder'));
BEGIN
    PERFORM pg_advisory_lock(hashtext('signalbox.rate_limits'), me);
    -- A machine that vanished from the network is noticed within some ten seconds, not hours.
    PERFORM set_config('tcp_keepalives_idle', '5', false),
            set_config('tcp_keepalives_interval', '2', false),
            set_config('tcp_keepalives_count', '3', false),
            set_config('synchronous_commit', 'off', false);
    DELETE FROM rate_limit_slot
     WHERE holder = me OR pg_try_advisory_xact_lock(hashtext('signalbox.rate_limits'), holder);
    RETURN me;
END $$;
