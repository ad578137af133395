-- Which attempt's answer the client got, whether it passed its validators, and what each validator found.

ALTER TABLE dispatch
    -- The position of the attempt that gave the answer; of a continued stream, of the attempt that finished it.
    ADD COLUMN answered_by smallint,
    -- NULL where nothing was to be validated.
    ADD COLUMN validated boolean;

ALTER TABLE attempt
    -- [{"validator", "passed", "expected", "actual", "score"}, …]
    ADD COLUMN validation jsonb NOT NULL DEFAULT '[]';
