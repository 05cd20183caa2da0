-- ============================================
-- Rollback: 2026-11-22-000012_access
-- Description: Removes custom permissions, sealed provider keys and platform settings; the keys are lost
-- ============================================

DROP TABLE system_settings;

ALTER TABLE tenant
    DROP COLUMN call_agent_url,
    DROP COLUMN ai_calling_providers,
    DROP COLUMN callfluent_key_sealed,
    DROP COLUMN callfluent_key_set_at,
    DROP COLUMN thoughtly_key_sealed,
    DROP COLUMN thoughtly_key_set_at;
REVOKE SELECT ON tenant FROM aisha_all, aisha_own, aisha_department, aisha_reporting;
GRANT SELECT ON tenant TO aisha_all, aisha_own, aisha_department, aisha_reporting;
SELECT audited_table('tenant', 'tenant', tenant_column => 'id');

DROP POLICY system_lookup ON module_settings;
DROP TABLE role_permissions;
DROP TABLE permissions;
