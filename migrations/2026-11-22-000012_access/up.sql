-- ============================================
-- Migration: 2026-11-22-000012_access
-- Description: Custom permissions and roles, provider keys of a tenant, settings of the platform
-- Date: 2026-11-22
-- Dependencies: 2026-11-21-000001_platform, 2026-11-21-000002_audit_events, 2026-11-21-000004_settings
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - tenant: the roles of a tenant may no longer read every column (the sealed keys are unreadable)

-- New Tables:
-- - permissions: rights that a tenant names, each one action on one kind of record or on all of them
-- - role_permissions: which of them a custom role adds; the names of a user's custom roles stand in users.custom_roles
-- - system_settings: settings of the platform; belongs to no tenant, open to aisha_system only

-- New Columns:
-- - tenant: call_agent_url, ai_calling_providers and the providers' keys, sealed by the application; the time at which a
--   key was set shows in the audit log what the key itself must not

-- Indexes Added:
-- - role_permissions_permission

CREATE TABLE permissions (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(100) NOT NULL CHECK (name <> ''),
    description varchar(2000),
    resource text NOT NULL CHECK (resource ~ '^([a-z][a-z0-9_]{0,62}|\*)$'),
    action text NOT NULL CHECK (action IN ('read', 'create', 'update', 'delete', 'export', 'import', '*')),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
SELECT tenant_table('permissions', 'tenant');

CREATE TABLE role_permissions (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    role varchar(100) NOT NULL
        CHECK (role !~* '^(superadmin|admin|manager|employee|user|power-user)?$'),
    permission_id uuid NOT NULL,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, role, permission_id),
    FOREIGN KEY (tenant_id, permission_id) REFERENCES permissions (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX role_permissions_permission ON role_permissions (tenant_id, permission_id);
SELECT tenant_table('role_permissions', 'tenant');
-- Rights are given by admins; nobody else's role can write them, whatever the application does.
REVOKE INSERT, UPDATE ON permissions, role_permissions FROM aisha_own, aisha_department;

-- The operator's list of tenants shows which modules each of them has on.
CREATE POLICY system_lookup ON module_settings FOR SELECT TO aisha_system USING (true);

ALTER TABLE tenant
    ADD COLUMN call_agent_url varchar(2000),
    -- what may be shown of the providers: callfluent {webhook_url, is_active}, thoughtly {agent_id, is_active}
    ADD COLUMN ai_calling_providers jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN callfluent_key_sealed bytea,
    ADD COLUMN callfluent_key_set_at timestamptz,
    ADD COLUMN thoughtly_key_sealed bytea,
    ADD COLUMN thoughtly_key_set_at timestamptz,
    ADD CHECK ((callfluent_key_sealed IS NULL) = (callfluent_key_set_at IS NULL)),
    ADD CHECK ((thoughtly_key_sealed IS NULL) = (thoughtly_key_set_at IS NULL));
REVOKE SELECT ON tenant FROM aisha_all, aisha_own, aisha_department, aisha_reporting;
SELECT grant_read('tenant', reader, '{callfluent_key_sealed,thoughtly_key_sealed}')
FROM unnest('{aisha_all,aisha_own,aisha_department,aisha_reporting}'::name[]) AS reader;
SELECT audited_table('tenant', 'tenant', secret => '{callfluent_key_sealed,thoughtly_key_sealed}',
                     tenant_column => 'id');

CREATE TABLE system_settings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    setting_key varchar(100) NOT NULL UNIQUE CHECK (setting_key ~ '^[a-z][a-z0-9_.]*$'),
    value jsonb,
    -- the value of a secret setting, sealed by the application
    value_sealed bytea,
    value_set_at timestamptz NOT NULL DEFAULT now(),
    is_secret boolean NOT NULL,
    description varchar(2000),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    CHECK (is_secret = (value_sealed IS NOT NULL)),
    CHECK (is_secret = (value IS NULL))
);
SELECT secure_table('system_settings');
CREATE POLICY system_rows ON system_settings TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON system_settings TO aisha_system;
SELECT audited_table('system_settings', '', secret => '{value_sealed}');
