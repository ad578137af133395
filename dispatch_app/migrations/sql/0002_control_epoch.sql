-- Every edit of what the data plane serves from bumps the epoch and notifies, whoever made it: the admin, the API or psql.
-- The bump commits with the edit, so a process that has loaded epoch n has seen every edit up to n.

CREATE TABLE control_epoch (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    value      bigint      NOT NULL,
    changed_at timestamptz NOT NULL
);
INSERT INTO control_epoch (value, changed_at) VALUES (1, now());

CREATE FUNCTION bump_control_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE control_epoch SET value = value + 1, changed_at = clock_timestamp();
    PERFORM pg_notify('signalbox_epoch', '');
    RETURN NULL;
END $$;

DO $$
DECLARE
    edited text;
BEGIN
    FOREACH edited IN ARRAY ARRAY[
        'provider', 'credential', 'model', 'price', 'tenant', 'apikey', 'apikey_policies', 'policy', 'policyversion',
        'rule', 'rule_tenants', 'step', 'budget', 'killswitch'
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION bump_control_epoch()',
            edited || '_bumps_epoch', 'policies_app_' || edited
        );
    END LOOP;
END $$;

-- Admission holds the gate shared while it reads the switches and commits; an edit of a switch takes it alone. So an edit
-- waits for the admissions in progress, and every later one sees it: none is admitted after the save has returned.
CREATE FUNCTION close_kill_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('signalbox.kill_gate'));
    RETURN NULL;
END $$;
CREATE TRIGGER killswitch_closes_gate BEFORE INSERT OR UPDATE OR DELETE ON policies_app_killswitch
    FOR EACH STATEMENT EXECUTE FUNCTION close_kill_gate();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are immutable', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER policyversion_is_immutable BEFORE UPDATE OR DELETE ON policies_app_policyversion
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Which processes serve, and which epoch each has loaded.
CREATE TABLE serving_process (
    id              uuid        PRIMARY KEY,
    hostname        text        NOT NULL,
    pid             integer     NOT NULL,
    started_at      timestamptz NOT NULL,
    epoch           bigint      NOT NULL,
    acknowledged_at timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL
);
