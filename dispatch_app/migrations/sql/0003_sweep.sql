-- How far back the expiry sweep has to look: no row created earlier is open.
CREATE TABLE ledger_sweep (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    swept_until timestamptz NOT NULL
);
INSERT INTO ledger_sweep (swept_until) VALUES ('-infinity');
