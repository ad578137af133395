-- The part of the cost that the gateway itself caused beside the answer, so that finance can credit it.
ALTER TABLE dispatch ADD COLUMN wasted_nanos bigint NOT NULL DEFAULT 0;
ALTER TABLE rollup_delta ADD COLUMN wasted_nanos bigint NOT NULL DEFAULT 0;
ALTER TABLE rollup_hour ADD COLUMN wasted_nanos bigint NOT NULL DEFAULT 0;
ALTER TABLE rollup_day ADD COLUMN wasted_nanos bigint NOT NULL DEFAULT 0;
ALTER TABLE rollup_month ADD COLUMN wasted_nanos bigint NOT NULL DEFAULT 0;
