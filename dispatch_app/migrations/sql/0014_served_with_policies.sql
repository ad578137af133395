-- What else the data plane serves from: edits of these bump the epoch, too. Versions of judges are immutable.

DO $$
DECLARE
    edited text;
BEGIN
    FOREACH edited IN ARRAY ARRAY['condition', 'validator', 'judge', 'judgeversion', 'qualityscore'] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION bump_control_epoch()',
            edited || '_bumps_epoch', 'policies_app_' || edited
        );
    END LOOP;
END $$;

CREATE TRIGGER judgeversion_is_immutable BEFORE UPDATE OR DELETE ON policies_app_judgeversion
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
