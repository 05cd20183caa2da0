-- ============================================
-- Migration: 2026-11-21-000002_audit_events
-- Description: Audit log and event outbox
-- Date: 2026-11-21
-- Dependencies: 2026-11-21-000001_platform
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - audit_log: who changed what, by month; services can add and read, never change. It refuses nothing: an audit row
--   that does not fit would undo the change it reports
-- - event_outbox: events in the transaction of their change, by day, kept 30 days; written by triggers only

-- Indexes Added:
-- - audit_log_tenant, audit_log_record, event_outbox_tenant

CREATE TABLE audit_log (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    -- null for what concerns no tenant, such as the sign-in of a superadmin
    tenant_id uuid,
    action text NOT NULL,
    table_name text NOT NULL,
    record_id uuid,
    entity text,
    changed_by uuid,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    role text,
    request_id text,
    ip text,
    user_agent text,
    impersonator uuid,
    reason text,
    old_values jsonb,
    new_values jsonb,
    PRIMARY KEY (changed_at, id)
) PARTITION BY RANGE (changed_at);
CREATE TABLE audit_log_default PARTITION OF audit_log DEFAULT;
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, changed_at DESC);
CREATE INDEX audit_log_record ON audit_log (tenant_id, record_id, changed_at DESC);

SELECT secure_table('audit_log');
SELECT secure_table('audit_log_default');
CREATE POLICY tenant_insert ON audit_log FOR INSERT TO aisha_all, aisha_own, aisha_department
    WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY all_select ON audit_log FOR SELECT TO aisha_all USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_insert ON audit_log FOR INSERT TO aisha_system WITH CHECK (true);
CREATE POLICY system_select ON audit_log FOR SELECT TO aisha_system USING (true);
CREATE POLICY trigger_insert ON audit_log FOR INSERT TO aisha_trigger WITH CHECK (true);
GRANT INSERT ON audit_log TO aisha_all, aisha_own, aisha_department, aisha_system, aisha_trigger;
GRANT SELECT ON audit_log TO aisha_all, aisha_system;

CREATE TABLE event_outbox (
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid,
    event text NOT NULL,
    entity text NOT NULL,
    record_id uuid,
    -- one of 64 lanes; the events of a record share one
    shard smallint NOT NULL,
    data jsonb NOT NULL,
    previous jsonb,
    -- seq is given before the commit, so a lower one can appear later. Everything below
    -- pg_snapshot_xmin(pg_current_snapshot()) is complete: readers advance by transaction_id and sort by seq.
    transaction_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, transaction_id, seq, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE event_outbox_default PARTITION OF event_outbox DEFAULT;
CREATE INDEX event_outbox_tenant ON event_outbox (tenant_id, seq);

SELECT secure_table('event_outbox');
SELECT secure_table('event_outbox_default');
CREATE POLICY trigger_insert ON event_outbox FOR INSERT TO aisha_trigger WITH CHECK (true);
CREATE POLICY system_select ON event_outbox FOR SELECT TO aisha_system USING (true);
GRANT INSERT ON event_outbox TO aisha_trigger;
GRANT SELECT ON event_outbox TO aisha_system;

SELECT ensure_partitions();
