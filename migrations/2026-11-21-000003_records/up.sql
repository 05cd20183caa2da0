-- ============================================
-- Migration: 2026-11-21-000003_records
-- Description: Employees, accounts and contacts
-- Date: 2026-11-21
-- Dependencies: 2026-11-21-000001_platform, 2026-11-21-000002_audit_events
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - employees: the people of a tenant, whom records are assigned to; every role of the tenant sees them
-- - accounts: companies
-- - contacts: people, possibly of an account

-- created_by and deleted_by name users without a foreign key: a superadmin, who belongs to no tenant, may be one, and
-- users are deactivated, not deleted. deleted_at marks the trash; no policy looks at it. Lengths are bounded by
-- varchar: a CHECK is parsed anew by every statement, and thirty of them cost a single insert 40 µs.

-- Indexes Added:
-- - employees_user, employees_email, employees_list, employees_department, employees_trash
-- - accounts_name, accounts_email, accounts_phone, accounts_type and those of tenant_table() and searchable_table()
-- - contacts_account, contacts_email, contacts_phone, contacts_mobile, contacts_status and the same

CREATE TABLE employees (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid,
    first_name varchar(200) NOT NULL CHECK (first_name <> ''),
    last_name varchar(200) NOT NULL CHECK (last_name <> ''),
    email varchar(320) CHECK (email = lower(email)),
    phone varchar(100),
    phone_e164 text CHECK (phone_e164 ~ '^\+[0-9]{3,15}$'),
    mobile varchar(100),
    mobile_e164 text CHECK (mobile_e164 ~ '^\+[0-9]{3,15}$'),
    department varchar(200),
    job_title varchar(200),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'terminated', 'on_leave')),
    notes varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    is_test_data boolean NOT NULL DEFAULT false,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        first_name || ' ' || last_name || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '') || ' ' ||
        coalesce(mobile, '') || ' ' || coalesce(department, '') || ' ' || coalesce(job_title, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE SET NULL (user_id)
);
CREATE UNIQUE INDEX employees_user ON employees (tenant_id, user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX employees_email ON employees (tenant_id, email) WHERE deleted_at IS NULL;
CREATE INDEX employees_list ON employees (tenant_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX employees_department ON employees (tenant_id, department);
CREATE INDEX employees_trash ON employees (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
SELECT tenant_table('employees', 'tenant', 'employee');
GRANT SELECT (tenant_id, id, first_name, last_name) ON employees TO aisha_trigger;
GRANT SELECT (tenant_id, id, department) ON employees TO aisha_search;

CREATE TABLE accounts (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(200) NOT NULL CHECK (name <> ''),
    name_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(name)) STORED,
    type text NOT NULL DEFAULT 'prospect' CHECK (type IN ('prospect', 'customer', 'partner', 'competitor', 'vendor')),
    industry varchar(200),
    website varchar(2000),
    phone varchar(100),
    phone_e164 text CHECK (phone_e164 ~ '^\+[0-9]{3,15}$'),
    email varchar(320) CHECK (email = lower(email)),
    annual_revenue numeric(15, 2) CHECK (annual_revenue >= 0),
    annual_revenue_minor bigint GENERATED ALWAYS AS ((annual_revenue * 100)::bigint) STORED,
    employee_count integer CHECK (employee_count >= 0),
    address_1 varchar(500),
    address_2 varchar(500),
    city varchar(200),
    state varchar(200),
    zip varchar(50),
    country varchar(200),
    description varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    processed_by_ai_doc boolean NOT NULL DEFAULT false,
    ai_doc_source_type text CHECK (ai_doc_source_type IN ('business_card', 'document_extraction')),
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        name || ' ' || coalesce(website, '') || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '') || ' ' ||
        coalesce(city, '') || ' ' || coalesce(industry, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE UNIQUE INDEX accounts_name ON accounts (tenant_id, name_key) WHERE deleted_at IS NULL;
CREATE INDEX accounts_email ON accounts (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX accounts_phone ON accounts (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
CREATE INDEX accounts_type ON accounts (tenant_id, type, created_at DESC, id DESC) WHERE deleted_at IS NULL;
SELECT tenant_table('accounts', 'owned', 'account', quiet => '{assigned_to_name}');
SELECT searchable_table('accounts');
SELECT copies_assignee('accounts');
GRANT SELECT (tenant_id, id, name, industry) ON accounts TO aisha_trigger;

CREATE TABLE contacts (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_name varchar(200) NOT NULL CHECK (first_name <> ''),
    last_name varchar(200) NOT NULL CHECK (last_name <> ''),
    email varchar(320) CHECK (email = lower(email)),
    phone varchar(100),
    phone_e164 text CHECK (phone_e164 ~ '^\+[0-9]{3,15}$'),
    mobile varchar(100),
    mobile_e164 text CHECK (mobile_e164 ~ '^\+[0-9]{3,15}$'),
    job_title varchar(200),
    department varchar(200),
    account_id uuid,
    account_name text,
    account_industry text,
    lead_source text CHECK (lead_source IN ('website', 'referral', 'cold_call', 'email', 'social_media', 'trade_show',
        'advertising', 'other', 'inbound_call', 'outbound_call', 'webhook')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'prospect', 'customer')),
    address_1 varchar(500),
    address_2 varchar(500),
    city varchar(200),
    state varchar(200),
    zip varchar(50),
    country varchar(200),
    notes varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
    score integer,
    score_reason varchar(2000),
    ai_action text NOT NULL DEFAULT 'none' CHECK (ai_action IN ('none', 'follow_up', 'nurture', 'qualify',
        'disqualify')),
    last_contacted date,
    next_action varchar(2000),
    activity_metadata jsonb NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    processed_by_ai_doc boolean NOT NULL DEFAULT false,
    ai_doc_source_type text CHECK (ai_doc_source_type IN ('business_card', 'document_extraction')),
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        first_name || ' ' || last_name || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '') || ' ' ||
        coalesce(mobile, '') || ' ' || coalesce(job_title, '') || ' ' || coalesce(city, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (account_id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE INDEX contacts_account ON contacts (tenant_id, account_id) WHERE account_id IS NOT NULL;
CREATE INDEX contacts_email ON contacts (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX contacts_phone ON contacts (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
CREATE INDEX contacts_mobile ON contacts (tenant_id, mobile_e164) WHERE mobile_e164 IS NOT NULL;
CREATE INDEX contacts_status ON contacts (tenant_id, status, created_at DESC, id DESC) WHERE deleted_at IS NULL;
SELECT tenant_table('contacts', 'owned', 'contact',
                    quiet => '{account_name,account_industry,assigned_to_name}');
SELECT searchable_table('contacts');
SELECT copies_assignee('contacts');
SELECT copies_account('contacts');
