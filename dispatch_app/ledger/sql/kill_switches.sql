-- The active kill switch that stops this attempt, or NULL.
CREATE OR REPLACE FUNCTION ledger_kill_switch(dispatch dispatch, attempt attempt) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT switch.id
      FROM policies_app_killswitch AS switch
     WHERE switch.lifted_at IS NULL
       AND (switch.expires_at IS NULL OR switch.expires_at > clock_timestamp())
       AND CASE switch.scope
               WHEN 'everything' THEN true
               WHEN 'provider' THEN switch.provider_id = attempt.provider_id
               WHEN 'model' THEN switch.model_id = attempt.model_id
               WHEN 'policy' THEN switch.policy_id = dispatch.policy_id
               WHEN 'rule' THEN switch.policy_id = dispatch.policy_id AND switch.rule_name = dispatch.rule
               WHEN 'tenant' THEN switch.tenant_id = dispatch.tenant_id
               WHEN 'api_key' THEN switch.api_key_id = dispatch.api_key_id
               WHEN 'end_user' THEN switch.tenant_id = dispatch.tenant_id AND switch.end_user = dispatch.end_user
               ELSE true
           END
     ORDER BY switch.id
     LIMIT 1
$$;
