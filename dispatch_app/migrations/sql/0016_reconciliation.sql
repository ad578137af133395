-- What the log of a UTC day came to when it was proven equal to budgets and rollups. Such a day is not read again as long as the
-- figures agree with what is remembered.
CREATE TABLE reconciled_day (
    day       date        PRIMARY KEY,
    proven_at timestamptz NOT NULL
);

CREATE TABLE reconciled_tenant_day (
    day        date   NOT NULL REFERENCES reconciled_day ON DELETE CASCADE,
    tenant_id  bigint NOT NULL,
    attempts   bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    tokens     bigint NOT NULL,
    dispatches bigint NOT NULL,
    PRIMARY KEY (day, tenant_id)
);

CREATE TABLE reconciled_balance_day (
    day        date   NOT NULL REFERENCES reconciled_day ON DELETE CASCADE,
    balance_id bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    PRIMARY KEY (day, balance_id)
);

-- Sums of months as they stood when they were closed, and what has changed them since, line by line.
CREATE TABLE closed_month (
    tenant_id  bigint      NOT NULL,
    month      date        NOT NULL,
    cost_nanos bigint      NOT NULL,
    closed_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, month)
);

CREATE TABLE closed_month_adjustment (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  bigint      NOT NULL,
    month      date        NOT NULL,
    cost_nanos bigint      NOT NULL,
    noted_at   timestamptz NOT NULL,
    FOREIGN KEY (tenant_id, month) REFERENCES closed_month DEFERRABLE INITIALLY DEFERRED
);
