-- ============================================
-- Migration: 2026-11-21-000004_settings
-- Description: A tenant's modules and its own fields
-- Date: 2026-11-21
-- Dependencies: 2026-11-21-000001_platform, 2026-11-21-000002_audit_events
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - module_settings: which modules are on, and their settings
-- - custom_fields: fields that a tenant adds to a record type

-- Indexes Added:
-- - none beside the unique constraints

CREATE TABLE module_settings (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    module_name varchar(200) NOT NULL CHECK (module_name <> ''),
    is_enabled boolean NOT NULL DEFAULT true,
    settings jsonb NOT NULL DEFAULT '{}',
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, module_name)
);
SELECT tenant_table('module_settings', 'tenant');

CREATE TABLE custom_fields (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    entity varchar(63) NOT NULL CHECK (entity <> ''),
    field_name text NOT NULL CHECK (field_name ~ '^[a-z][a-z0-9_]{0,62}$'),
    field_label varchar(200) NOT NULL CHECK (field_label <> ''),
    field_type text NOT NULL CHECK (field_type IN ('text', 'email', 'phone', 'textarea', 'select', 'multiselect',
        'date', 'number', 'checkbox', 'currency')),
    options jsonb NOT NULL DEFAULT '[]',
    is_required boolean NOT NULL DEFAULT false,
    display_order integer NOT NULL DEFAULT 0,
    help_text varchar(2000),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, entity, field_name)
);
SELECT tenant_table('custom_fields', 'tenant');
