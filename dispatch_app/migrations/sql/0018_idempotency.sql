-- Which dispatch an idempotency key stands for. Written by ledger_begin with the dispatch's first attempt; what became of it is
-- read from the dispatch. Of the key there is an HMAC, of the request a hash; the answer is sealed, and kept only by leave.

CREATE TABLE idempotency_key (
    tenant_id           bigint      NOT NULL,
    api_key_id          bigint      NOT NULL,
    endpoint            text        NOT NULL,
    key_hmac            bytea       NOT NULL,
    body_sha256         bytea       NOT NULL,
    dispatch_id         uuid        NOT NULL,
    dispatch_created_at timestamptz NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed_answer       bytea,
    PRIMARY KEY (tenant_id, api_key_id, endpoint, key_hmac)
) WITH (fillfactor = 80);

CREATE INDEX idempotency_key_by_age ON idempotency_key (created_at);

ALTER TABLE dispatch ADD COLUMN has_idempotency_key boolean NOT NULL DEFAULT false;
