-- ============================================
-- Migration: 2026-11-22-000014_care
-- Description: Runs of data care with what they fixed, and the archive
-- Date: 2026-11-22
-- Dependencies: 2026-11-22-000007_pipeline
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables (open to those who see the whole tenant; written by aisha_system):
-- - sync_health: each check, repair and synchronisation of copies
-- - data_fix: what a run changed, value by value
-- - archived_record: records that were moved out of the working tables, with what refers to them

-- Modified Tables:
-- - activities: due_at follows from other columns, so setting it right again is no change of the record

-- Indexes Added:
-- - sync_health_list, data_fix_run, archived_record_list, archived_record_batch

CREATE TABLE sync_health (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    sync_type text NOT NULL CHECK (sync_type IN ('denormalization', 'orphan_cleanup', 'data_integrity')),
    action text NOT NULL CHECK (action IN ('check', 'fix', 'sync')),
    mode text NOT NULL DEFAULT 'full' CHECK (mode IN ('incremental', 'full')),
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed', 'partial')),
    start_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    end_time timestamptz,
    duration_ms bigint,
    records_processed bigint NOT NULL DEFAULT 0,
    records_updated bigint NOT NULL DEFAULT 0,
    error_count integer NOT NULL DEFAULT 0,
    errors jsonb NOT NULL DEFAULT '[]',
    -- per record type, how many rows were found wrong and how many put right
    entity_stats jsonb NOT NULL DEFAULT '{}',
    triggered_by text NOT NULL CHECK (triggered_by IN ('cron', 'manual', 'api')),
    created_by uuid,
    -- when it last made progress: a run whose process died is told by it
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX sync_health_list ON sync_health (tenant_id, start_time DESC, id DESC);

CREATE TABLE data_fix (
    tenant_id uuid NOT NULL,
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    run_id uuid NOT NULL,
    check_name text NOT NULL,
    entity text NOT NULL,
    record_id uuid NOT NULL,
    column_name text NOT NULL,
    old_value text,
    new_value text,
    fixed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES sync_health (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX data_fix_run ON data_fix (tenant_id, run_id, id);

CREATE TABLE archived_record (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    entity_type text NOT NULL,
    id uuid NOT NULL,
    batch_id uuid NOT NULL,
    name text,
    -- the row as it stood in its table
    record jsonb NOT NULL,
    -- rows of other tables that went with it: [{"table", "rows": [..]}]
    children jsonb NOT NULL DEFAULT '[]',
    -- rows that referred to it and lost the reference: [{"table", "column", "ids": [..]}]
    links jsonb NOT NULL DEFAULT '[]',
    reason text NOT NULL,
    archived_by uuid,
    archived_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, entity_type, id)
);
CREATE INDEX archived_record_list ON archived_record (tenant_id, archived_at DESC, id DESC);
CREATE INDEX archived_record_batch ON archived_record (tenant_id, batch_id, id);

SELECT secure_table('sync_health'), secure_table('data_fix'), secure_table('archived_record');
CREATE POLICY all_select ON sync_health FOR SELECT TO aisha_all USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY all_select ON data_fix FOR SELECT TO aisha_all USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY all_select ON archived_record FOR SELECT TO aisha_all USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_rows ON sync_health TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_rows ON data_fix TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_rows ON archived_record TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
GRANT SELECT ON sync_health, data_fix, archived_record TO aisha_all;
GRANT SELECT, INSERT, UPDATE, DELETE ON sync_health, data_fix, archived_record TO aisha_system;

SELECT audited_table('activities', 'activity', hidden => '{related_assigned_to,related_created_by}',
    quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by,due_at}');
