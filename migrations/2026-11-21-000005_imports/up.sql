-- ============================================
-- Migration: 2026-11-21-000005_imports
-- Description: CSV imports with undo, and stored answers of repeated requests
-- Date: 2026-11-21
-- Dependencies: 2026-11-21-000001_platform, 2026-11-21-000002_audit_events
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - import_log: one row per import, its progress and its outcome
-- - import_row: rows that an import changed, as they were before; rows that it created carry import_id themselves
-- - idempotency_key: the answer to a request, for its repetition

-- Indexes Added:
-- - import_log_list, idempotency_key_expires

CREATE TABLE import_log (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    entity_type varchar(63) NOT NULL CHECK (entity_type <> ''),
    filename varchar(500),
    status text NOT NULL DEFAULT 'processing' CHECK (status IN ('processing', 'completed', 'failed', 'undone')),
    dry_run boolean NOT NULL DEFAULT false,
    on_duplicate text NOT NULL DEFAULT 'skip' CHECK (on_duplicate IN ('skip', 'update', 'create')),
    mapping jsonb NOT NULL DEFAULT '{}',
    total_records integer NOT NULL DEFAULT 0,
    success_count integer NOT NULL DEFAULT 0,
    updated_count integer NOT NULL DEFAULT 0,
    skipped_count integer NOT NULL DEFAULT 0,
    error_count integer NOT NULL DEFAULT 0,
    errors jsonb NOT NULL DEFAULT '[]',
    metadata jsonb NOT NULL DEFAULT '{}',
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    undone_at timestamptz,
    undo_result jsonb,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX import_log_list ON import_log (tenant_id, created_at DESC, id DESC);
-- progress is no news
SELECT tenant_table('import_log', 'created',
    quiet => '{total_records,success_count,updated_count,skipped_count,error_count,errors,updated_at}');

CREATE TABLE import_row (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    row_number integer NOT NULL,
    record_id uuid NOT NULL,
    -- the version that the import made: a higher one in the record means that somebody changed it since
    version integer NOT NULL,
    previous jsonb NOT NULL,
    created_by uuid DEFAULT current_user_id(),
    PRIMARY KEY (tenant_id, import_id, row_number),
    FOREIGN KEY (tenant_id, import_id) REFERENCES import_log (tenant_id, id) ON DELETE CASCADE
);
SELECT tenant_table('import_row', 'created', NULL);

CREATE TABLE idempotency_key (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    user_id uuid NOT NULL,
    key varchar(255) NOT NULL CHECK (key <> ''),
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    response text,
    location text,
    etag text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, key)
);
CREATE INDEX idempotency_key_expires ON idempotency_key (tenant_id, expires_at);
SELECT tenant_table('idempotency_key', 'private', NULL);
