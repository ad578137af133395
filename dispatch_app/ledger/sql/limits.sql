-- What a budget allows at an instant: its limit and the raises that run then. A raise counts from its beginning to its end, and
-- not before the second person has confirmed it, where it takes one.
CREATE OR REPLACE FUNCTION budget_limit_nanos(budget policies_app_budget, at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN least(9223372036854775807, budget.limit_nanos + coalesce((
        SELECT sum(running.amount_nanos)
          FROM policies_app_budgetraise AS running
         WHERE running.budget_id = budget.id
           AND running.withdrawn_at IS NULL
           AND (running.confirmed_at IS NOT NULL OR NOT running.needs_second_person)
           AND running.starts_at <= at
           AND (running.ends_at IS NULL OR running.ends_at > at)), 0));
END $$;
