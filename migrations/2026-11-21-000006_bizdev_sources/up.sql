-- ============================================
-- Migration: 2026-11-21-000006_bizdev_sources
-- Description: Business development sources: companies that are not yet leads
-- Date: 2026-11-21
-- Dependencies: 2026-11-21-000003_records
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - bizdev_sources: companies from lists and registers, before anybody has talked to them

-- Indexes Added:
-- - those of tenant_table() and searchable_table()

CREATE TABLE bizdev_sources (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    company_name varchar(200) NOT NULL CHECK (company_name <> ''),
    company_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(company_name)) STORED,
    dba_name varchar(200),
    source varchar(200),
    source_type text CHECK (source_type IN ('referral', 'marketing', 'cold_outreach', 'partnership')),
    batch_id varchar(200),
    industry varchar(200),
    website varchar(2000),
    contact_person varchar(200),
    email varchar(320) CHECK (email = lower(email)),
    phone varchar(100),
    phone_e164 text CHECK (phone_e164 ~ '^\+[0-9]{3,15}$'),
    address_line_1 varchar(500),
    address_line_2 varchar(500),
    city varchar(200),
    state_province varchar(200),
    postal_code varchar(50),
    country varchar(200),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'promoted', 'inactive', 'archived')),
    priority text NOT NULL DEFAULT 'medium' CHECK (priority IN ('low', 'medium', 'high')),
    industry_license varchar(200),
    license_status text CHECK (license_status IN ('active', 'suspended', 'revoked', 'expired', 'unknown',
        'not_required')),
    license_expiry_date date,
    notes varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
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
        company_name || ' ' || coalesce(dba_name, '') || ' ' || coalesce(website, '') || ' ' || coalesce(email, '')
        || ' ' || coalesce(phone, '') || ' ' || coalesce(contact_person, '') || ' ' || coalesce(city, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE INDEX bizdev_sources_company ON bizdev_sources (tenant_id, company_key) WHERE deleted_at IS NULL;
SELECT tenant_table('bizdev_sources', 'owned', 'bizdev_source', hidden => '{company_key}', quiet => '{assigned_to_name}');
SELECT searchable_table('bizdev_sources');
SELECT copies_assignee('bizdev_sources');
