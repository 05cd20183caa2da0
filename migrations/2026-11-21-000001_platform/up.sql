-- ============================================
-- Migration: 2026-11-21-000001_platform
-- Description: Extensions, tenants, users, sessions and API keys
-- Date: 2026-11-21
-- Dependencies: sql/ (roles and functions, applied before the migrations)
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - tenant: the organisations, each the boundary of its data
-- - users: people who sign in; superadmins belong to no tenant
-- - sessions: one row per sign-in, with the refresh token in force
-- - api_key: keys that carry the rights of a user

-- Not bound to one tenant, each with its own protection:
-- - tenant: a tenant's roles see their own row; aisha_system sees all
-- - users: e-mail addresses are unique across tenants; a tenant's roles see its users; aisha_system sees all
-- - sessions: only aisha_system
-- - api_key: a tenant table, but aisha_system may read across tenants to find a key by its prefix

-- Indexes Added:
-- - users_tenant, sessions_user, sessions_refresh, sessions_previous, api_key_user

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE TABLE tenant (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(200) NOT NULL CHECK (name <> ''),
    slug varchar(63) NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'suspended')),
    plan varchar(100) NOT NULL DEFAULT 'free',
    settings jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    branding_settings jsonb NOT NULL DEFAULT '{}',
    logo_url varchar(2000),
    primary_color varchar(50),
    accent_color varchar(50),
    domain varchar(253),
    country varchar(200),
    major_city varchar(200),
    industry varchar(200),
    business_model text CHECK (business_model IN ('b2b', 'b2c', 'hybrid')),
    geographic_focus text CHECK (geographic_focus IN
        ('north_america', 'europe', 'asia', 'south_america', 'africa', 'oceania', 'global')),
    elevenlabs_agent_id varchar(200),
    display_order integer NOT NULL DEFAULT 0,
    manager_scope text NOT NULL DEFAULT 'all' CHECK (manager_scope IN ('all', 'department')),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

SELECT secure_table('tenant');
CREATE POLICY tenant_select ON tenant FOR SELECT TO aisha_all, aisha_own, aisha_department, aisha_reporting
    USING (id = (SELECT current_tenant_id()));
CREATE POLICY tenant_update ON tenant FOR UPDATE TO aisha_all
    USING (id = (SELECT current_tenant_id())) WITH CHECK (id = (SELECT current_tenant_id()));
CREATE POLICY system_rows ON tenant TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT ON tenant TO aisha_all, aisha_own, aisha_department, aisha_reporting;
GRANT UPDATE ON tenant TO aisha_all;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant TO aisha_system;
SELECT audited_table('tenant', 'tenant', tenant_column => 'id');

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid REFERENCES tenant (id),
    email varchar(320) NOT NULL UNIQUE CHECK (email = lower(email)),
    password_hash varchar(500),
    first_name varchar(200) NOT NULL DEFAULT '',
    last_name varchar(200) NOT NULL DEFAULT '',
    full_name text NOT NULL GENERATED ALWAYS AS (trim(first_name || ' ' || last_name)) STORED,
    role text NOT NULL DEFAULT 'employee' CHECK (role IN ('superadmin', 'admin', 'manager', 'employee')),
    access_level text NOT NULL DEFAULT 'read_write' CHECK (access_level IN ('read', 'read_write')),
    can_use_softphone boolean NOT NULL DEFAULT false,
    is_active boolean NOT NULL DEFAULT true,
    navigation_permissions jsonb NOT NULL DEFAULT '{}',
    custom_roles text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    last_login_at timestamptz,
    password_changed_at timestamptz,
    deactivated_at timestamptz,
    created_by uuid,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((role = 'superadmin') = (tenant_id IS NULL)),
    -- what tenant tables refer to, so that a link to another tenant's user is impossible
    CONSTRAINT users_tenant UNIQUE (tenant_id, id)
);

SELECT secure_table('users');
CREATE POLICY tenant_select ON users FOR SELECT TO aisha_all, aisha_department, aisha_reporting
    USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_select ON users FOR SELECT TO aisha_own
    USING (tenant_id = (SELECT current_tenant_id()) AND id = (SELECT current_user_id()));
CREATE POLICY all_insert ON users FOR INSERT TO aisha_all WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY all_update ON users FOR UPDATE TO aisha_all
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_rows ON users TO aisha_system USING (true) WITH CHECK (true);
SELECT grant_read('users', reader, '{password_hash}')
FROM unnest('{aisha_all,aisha_own,aisha_department,aisha_reporting}'::name[]) AS reader;
GRANT INSERT, UPDATE ON users TO aisha_all;
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO aisha_system;
SELECT audited_table('users', 'user', secret => '{password_hash}', quiet => '{last_login_at}');

CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    refresh_hash bytea NOT NULL,
    previous_refresh_hash bytea,
    rotated_at timestamptz,
    -- the token that replaced the previous one, sealed by the application: two tabs that refresh at once get the same
    successor_sealed bytea,
    ip varchar(100),
    user_agent varchar(2000),
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason varchar(200)
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE UNIQUE INDEX sessions_refresh ON sessions (refresh_hash);
CREATE INDEX sessions_previous ON sessions (previous_refresh_hash) WHERE previous_refresh_hash IS NOT NULL;

SELECT secure_table('sessions');
CREATE POLICY system_rows ON sessions TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO aisha_system;

CREATE TABLE api_key (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(200) NOT NULL CHECK (name <> ''),
    prefix varchar(64) NOT NULL UNIQUE CHECK (prefix <> ''),
    key_hash bytea NOT NULL UNIQUE,
    permissions text[] NOT NULL DEFAULT '{}',
    user_id uuid NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX api_key_user ON api_key (tenant_id, user_id);

SELECT tenant_table('api_key', 'personal', 'api_key', secret => '{key_hash}', quiet => '{last_used_at}');
CREATE POLICY system_lookup ON api_key FOR SELECT TO aisha_system USING (true);
