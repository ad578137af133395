-- Idempotency keys. A row says which dispatch a key stands for. Only ledger_begin writes it, together with the first attempt of
-- that dispatch; what became of the dispatch is read from the log, so that whatever ends a dispatch also ends its key's wait.

-- How long a key is remembered.
CREATE OR REPLACE FUNCTION idempotency_lifetime() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '24 hours' $$;

-- What became of a dispatch: failed_before_send (every attempt is void, provably no byte was sent), in_flight, unknown (it
-- expired: whether it was carried out is not known) or done.
CREATE OR REPLACE FUNCTION idempotency_state(wanted_id uuid, wanted_created_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
               WHEN (SELECT bool_and(attempt.state = 'voided')
                       FROM attempt
                      WHERE attempt.dispatch_id = wanted_id
                        AND attempt.created_at >= wanted_created_at - interval '1 day') THEN 'failed_before_send'
               WHEN dispatch.status = 'open' THEN 'in_flight'
               WHEN dispatch.status = 'expired' THEN 'unknown'
               ELSE 'done'
           END
      FROM dispatch
     WHERE dispatch.created_at = wanted_created_at AND dispatch.id = wanted_id
$$;

-- Claims the keys of a batch of attempts for their dispatches: [{place, tenant_id, api_key_id, endpoint, key_hmac, body_sha256,
-- dispatch_id, dispatch_created_at}, …]. Answers, by the place in the batch, whether the dispatch has its key; NULL where it came
-- with none.
--
-- A key is locked to the commit, in an order that all batches keep. It stays with the first dispatch that claimed it, unless that
-- is long ago or came to nothing before anything was sent: each attempt claims, so that such a dispatch begins no further one.
CREATE OR REPLACE FUNCTION idempotency_claim(keys json) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
    held   idempotency_key;
    claims boolean[] := '{}';
BEGIN
    FOR wanted IN
        SELECT key.place, key.tenant_id, key.api_key_id, key.endpoint, decode(key.key_hmac, 'hex') AS key_hmac,
               decode(key.body_sha256, 'hex') AS body_sha256, key.dispatch_id, key.dispatch_created_at
          FROM json_to_recordset(keys) AS key (place integer, tenant_id bigint, api_key_id bigint, endpoint text, key_hmac text,
                                               body_sha256 text, dispatch_id uuid, dispatch_created_at timestamptz)
         ORDER BY 2, 3, 4, 5, 1
    LOOP
        -- A known row is updated to what it was: that locks it. One that another batch is inserting is waited for.
        INSERT INTO idempotency_key AS known (tenant_id, api_key_id, endpoint, key_hmac, body_sha256, dispatch_id, dispatch_created_at)
        VALUES (wanted.tenant_id, wanted.api_key_id, wanted.endpoint, wanted.key_hmac, wanted.body_sha256, wanted.dispatch_id,
                wanted.dispatch_created_at)
            ON CONFLICT (tenant_id, api_key_id, endpoint, key_hmac) DO UPDATE SET dispatch_id = known.dispatch_id
        RETURNING * INTO held;

        IF held.dispatch_id <> wanted.dispatch_id
           AND (held.created_at < clock_timestamp() - idempotency_lifetime()
                OR held.body_sha256 = wanted.body_sha256
                   AND idempotency_state(held.dispatch_id, held.dispatch_created_at) = 'failed_before_send') THEN
            UPDATE idempotency_key
               SET body_sha256 = wanted.body_sha256,
                   dispatch_id = wanted.dispatch_id,
                   dispatch_created_at = wanted.dispatch_created_at,
                   created_at = clock_timestamp(),
                   sealed_answer = NULL
             WHERE tenant_id = wanted.tenant_id AND api_key_id = wanted.api_key_id
               AND endpoint = wanted.endpoint AND key_hmac = wanted.key_hmac
            RETURNING * INTO held;
        END IF;
        claims[wanted.place] := held.dispatch_id = wanted.dispatch_id;
    END LOOP;
    RETURN claims;
END $$;

-- Gives back the keys that a batch claimed for dispatches of which no attempt was admitted after all: those may be tried again.
CREATE OR REPLACE FUNCTION idempotency_release(keys json) RETURNS void LANGUAGE sql AS $$
    DELETE FROM idempotency_key AS held
     USING json_to_recordset(keys) AS key (tenant_id bigint, api_key_id bigint, endpoint text, key_hmac text, dispatch_id uuid)
     WHERE held.tenant_id = key.tenant_id AND held.api_key_id = key.api_key_id
       AND held.endpoint = key.endpoint AND held.key_hmac = decode(key.key_hmac, 'hex')
       AND held.dispatch_id = key.dispatch_id
       AND NOT EXISTS (SELECT FROM dispatch
                        WHERE dispatch.created_at = held.dispatch_created_at AND dispatch.id = held.dispatch_id)
$$;

-- What is known of keys: [{tenant_id, api_key_id, endpoint, key_hmac, wants_answer}, …]; answers, in that order, NULL or
-- {body_sha256, dispatch_id, state, status, cost_nanos, sealed_answer}.
--
-- An answer is kept a moment after its dispatch has ended: for who wants it, that is in flight until then, or for two seconds.
CREATE OR REPLACE FUNCTION idempotency_look_up(keys jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(
               CASE WHEN dispatch.id IS NOT NULL THEN jsonb_build_object(
                   'body_sha256', encode(held.body_sha256, 'hex'), 'dispatch_id', held.dispatch_id,
                   'state', CASE WHEN wanted.wants_answer AND held.sealed_answer IS NULL
                                      AND dispatch.finished_at > clock_timestamp() - interval '2 seconds'
                                      AND state.now = 'done' THEN 'in_flight' ELSE state.now END,
                   'status', dispatch.status, 'cost_nanos', dispatch.cost_nanos,
                   'sealed_answer', CASE WHEN wanted.wants_answer THEN encode(held.sealed_answer, 'hex') END) END
               ORDER BY wanted.place)
      FROM ROWS FROM (
               jsonb_to_recordset(keys) AS (tenant_id bigint, api_key_id bigint, endpoint text, key_hmac text, wants_answer boolean)
           ) WITH ORDINALITY AS wanted (tenant_id, api_key_id, endpoint, key_hmac, wants_answer, place)
      LEFT JOIN idempotency_key AS held
             ON held.tenant_id = wanted.tenant_id AND held.api_key_id = wanted.api_key_id AND held.endpoint = wanted.endpoint
            AND held.key_hmac = decode(wanted.key_hmac, 'hex')
            AND held.created_at >= clock_timestamp() - idempotency_lifetime()
      LEFT JOIN dispatch ON dispatch.created_at = held.dispatch_created_at AND dispatch.id = held.dispatch_id
     CROSS JOIN LATERAL (SELECT idempotency_state(dispatch.id, dispatch.created_at)) AS state (now)
$$;

-- Keeps sealed answers: [{tenant_id, api_key_id, endpoint, key_hmac, dispatch_id, sealed_answer}, …], where the key is still theirs.
CREATE OR REPLACE FUNCTION idempotency_keep(answers jsonb) RETURNS void LANGUAGE sql AS $$
    UPDATE idempotency_key AS held
       SET sealed_answer = decode(answer.sealed_answer, 'hex')
      FROM jsonb_to_recordset(answers) AS answer (tenant_id bigint, api_key_id bigint, endpoint text, key_hmac text, dispatch_id uuid,
                                                  sealed_answer text)
     WHERE held.tenant_id = answer.tenant_id AND held.api_key_id = answer.api_key_id AND held.endpoint = answer.endpoint
       AND held.key_hmac = decode(answer.key_hmac, 'hex')
       AND held.dispatch_id = answer.dispatch_id
$$;

-- Removes keys whose time is over, so many at most; answers how many that were.
CREATE OR REPLACE FUNCTION idempotency_forget(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    forgotten integer;
BEGIN
    DELETE FROM idempotency_key
     WHERE ctid = ANY (ARRAY(SELECT ctid
                               FROM idempotency_key
                              WHERE created_at < clock_timestamp() - idempotency_lifetime()
                              ORDER BY created_at
                              LIMIT most
                                FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;
