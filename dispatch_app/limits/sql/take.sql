-- Answers a batch of asks in order, each all or nothing: an ask that does not fit one of its limits takes nothing of any.
--
-- me: who asks; see rate_limit_join.
-- limits: [{id, most, at_once, held, credit}, …], each once. `most` is for a minute, or (at_once) at any time; `held` is what
-- this process has of it now, if at_once; `credit` is what was taken before and not used, below zero if more was used.
-- asks: [{slots: [index into limits, from 1], amounts}, …].
-- at_s: the moment in seconds since 1970, now if it is not said.
--
-- A limit per minute is a bucket of one minute's worth that refills evenly (GCRA): `full_at` is all that is known of it.
-- Half a unit of tolerance is for rounding: no whole unit ever comes of it, because what is taken counts in full.
--
-- Answers [[did fit, [used of each of its limits afterwards]], …] in the order of the asks.
CREATE OR REPLACE FUNCTION rate_limit_take(me integer, limits jsonb, asks jsonb, at_s float8 DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ids     bigint[];
    most    bigint[];
    at_once boolean[];
    held    bigint[];
    credit  bigint[];
    used    float8[];
    before  float8[];
    now_s   float8;
    ask     record;
    fits    boolean;
    levels  float8[];
    answers jsonb[] := '{}';
BEGIN
    SELECT array_agg(wanted.id), array_agg(wanted.most), array_agg(wanted.at_once), array_agg(wanted.held),
           array_agg(wanted.credit)
      INTO ids, most, at_once, held, credit
      FROM jsonb_to_recordset(limits) AS wanted (id bigint, most bigint, at_once boolean, held bigint, credit bigint);

    INSERT INTO rate_limit_level (rate_limit_id)
    SELECT wanted.id FROM unnest(ids) AS wanted (id)
     WHERE NOT EXISTS (SELECT FROM rate_limit_level WHERE rate_limit_id = wanted.id)
     ORDER BY wanted.id
        ON CONFLICT DO NOTHING;

    PERFORM FROM rate_limit_level WHERE rate_limit_id = ANY (ids) ORDER BY rate_limit_id FOR NO KEY UPDATE;
    now_s := coalesce(at_s, extract(epoch FROM clock_timestamp()));

    SELECT array_agg(
               CASE WHEN wanted.at_once THEN wanted.held + coalesce(others.in_use, 0)
                    ELSE greatest(0, greatest(0, level.full_at - now_s) * wanted.most / 60 - wanted.credit) END
               ORDER BY wanted.slot)
      INTO used
      FROM unnest(ids, most, at_once, held, credit) WITH ORDINALITY AS wanted (id, most, at_once, held, credit, slot)
      JOIN rate_limit_level AS level ON level.rate_limit_id = wanted.id
      LEFT JOIN LATERAL (
               SELECT sum(in_use) AS in_use FROM rate_limit_slot
                WHERE wanted.at_once AND rate_limit_id = wanted.id AND holder <> me) AS others ON true;

    -- Before anybody is refused for the slots of a process, it is made sure that the process is alive.
    IF EXISTS (SELECT FROM unnest(used, most, at_once) AS level (used, most, at_once)
                WHERE level.at_once AND level.used + jsonb_array_length(asks) > level.most) THEN
        WITH gone AS (
            DELETE FROM rate_limit_slot
             WHERE rate_limit_id = ANY (ids) AND holder <> me
               AND pg_try_advisory_xact_lock(hashtext('signalbox.rate_limits'), holder)
            RETURNING rate_limit_id, in_use
        )
        SELECT array_agg(level.used - coalesce(
                   (SELECT sum(gone.in_use) FROM gone WHERE gone.rate_limit_id = ids[level.slot]), 0) ORDER BY level.slot)
          INTO used
          FROM unnest(used) WITH ORDINALITY AS level (used, slot);
    END IF;

    before := used;
    FOR ask IN SELECT wanted.slots, wanted.amounts FROM jsonb_to_recordset(asks) AS wanted (slots integer[], amounts bigint[])
    LOOP
        fits := true;
        FOR i IN 1 .. array_length(ask.slots, 1) LOOP
            fits := fits AND used[ask.slots[i]] + ask.amounts[i] <= most[ask.slots[i]] + 0.5;
        END LOOP;
        levels := '{}';
        FOR i IN 1 .. array_length(ask.slots, 1) LOOP
            IF fits THEN
                used[ask.slots[i]] := used[ask.slots[i]] + ask.amounts[i];
            END IF;
            levels := levels || used[ask.slots[i]];
        END LOOP;
        answers := answers || jsonb_build_array(fits, levels);
    END LOOP;

    UPDATE rate_limit_level AS level
       SET full_at = now_s + wanted.used * 60 / wanted.most
      FROM unnest(ids, most, at_once, used) AS wanted (id, most, at_once, used)
     WHERE level.rate_limit_id = wanted.id AND NOT wanted.at_once;

    INSERT INTO rate_limit_slot AS slot (rate_limit_id, holder, in_use)
    SELECT wanted.id, me, wanted.held + (wanted.used - wanted.before)
      FROM unnest(ids, at_once, held, used, before) AS wanted (id, at_once, held, used, before)
     WHERE wanted.at_once
        ON CONFLICT (rate_limit_id, holder) DO UPDATE SET in_use = excluded.in_use;

    RETURN to_jsonb(answers);
END $$;
