-- ============================================
-- Migration: 2026-11-28-000017_audit_chain
-- Description: A hash chain per tenant over the audit log
-- Date: 2026-11-28
-- Dependencies: 2026-11-21-000002_audit_events
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables (open to aisha_system only; the bytes that are hashed are described in sql/045_audit_chain.sql):
-- - audit_chain: one link per audit row; services add, nobody changes or removes
-- - audit_chain_state: the head of each chain, and what the last verification found
-- - audit_sealing: how far sealing has come; one row

-- Modified Tables:
-- - audit_log: transaction_id, by which rows are taken when they are complete. Rows that were there are of transaction 0

-- Indexes Added:
-- - audit_log_sealing, audit_chain_row
-- - audit_log_list instead of audit_log_tenant: the rows of one statement share their time, and without the id a page would
--   sort all of them
-- - audit_log_user, audit_log_table, audit_log_action: filters that match little (1 M rows of a tenant: 0.3 s without, 5 ms
--   with). What is created and updated is common, and found without an index
-- - audit_log_failed: sign-ins that failed with an address; of those that nobody has there may be any number

-- Two steps, so that the rows that are there are not written again.
ALTER TABLE audit_log ADD COLUMN transaction_id bigint NOT NULL DEFAULT 0;
ALTER TABLE audit_log ALTER COLUMN transaction_id SET DEFAULT (pg_current_xact_id()::text::bigint);
-- Whole, so that a transaction of a million rows is not sorted for each batch of it.
CREATE INDEX audit_log_sealing ON audit_log (transaction_id, changed_at, id);
CREATE INDEX audit_log_list ON audit_log (tenant_id, changed_at DESC, id DESC);
CREATE INDEX audit_log_user ON audit_log (tenant_id, changed_by, changed_at DESC);
CREATE INDEX audit_log_table ON audit_log (tenant_id, table_name, changed_at DESC);
CREATE INDEX audit_log_action ON audit_log (tenant_id, action, changed_at DESC) WHERE action NOT IN ('create', 'update');
CREATE INDEX audit_log_failed ON audit_log (tenant_id, (new_values ->> 'email'), changed_at DESC) WHERE action = 'FAILED_LOGIN';
DROP INDEX audit_log_tenant;

CREATE TABLE audit_chain (
    -- 00000000-0000-0000-0000-000000000000 for what concerns no tenant
    tenant_id uuid NOT NULL,
    link bigint NOT NULL CHECK (link > 0),
    audit_id uuid NOT NULL,
    changed_at timestamptz NOT NULL,
    row_digest bytea NOT NULL,
    values_digest bytea NOT NULL,
    -- gone when the row's values were erased
    salt bytea,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, link),
    CONSTRAINT audit_chain_row UNIQUE (tenant_id, changed_at, audit_id)
);

CREATE TABLE audit_chain_state (
    tenant_id uuid PRIMARY KEY,
    link bigint NOT NULL,
    hash bytea NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- when a process last began to verify it, and when one last came to the end
    claimed_at timestamptz,
    verified_at timestamptz,
    -- links, redacted, pending, problems (counts by kind) and the first of them by name
    verified jsonb
);

CREATE TABLE audit_sealing (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    transaction_id bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT '-infinity',
    audit_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    reached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO audit_sealing DEFAULT VALUES;

SELECT secure_table('audit_chain'), secure_table('audit_chain_state'), secure_table('audit_sealing');
CREATE POLICY system_insert ON audit_chain FOR INSERT TO aisha_system WITH CHECK (true);
CREATE POLICY system_select ON audit_chain FOR SELECT TO aisha_system USING (true);
CREATE POLICY system_rows ON audit_chain_state TO aisha_system USING (true) WITH CHECK (true);
CREATE POLICY system_rows ON audit_sealing TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON audit_chain TO aisha_system;
GRANT SELECT, INSERT, UPDATE ON audit_chain_state TO aisha_system;
GRANT SELECT, UPDATE ON audit_sealing TO aisha_system;

-- What audit_redact() may: take values away, and nothing else.
CREATE POLICY trigger_select ON audit_log FOR SELECT TO aisha_trigger USING (true);
CREATE POLICY trigger_redact ON audit_log FOR UPDATE TO aisha_trigger USING (true)
    WITH CHECK (old_values IS NULL AND new_values IS NULL);
CREATE POLICY trigger_select ON audit_chain FOR SELECT TO aisha_trigger USING (true);
CREATE POLICY trigger_redact ON audit_chain FOR UPDATE TO aisha_trigger USING (true) WITH CHECK (salt IS NULL);
GRANT SELECT (tenant_id, table_name, record_id, action, changed_at, id, old_values, new_values),
    UPDATE (old_values, new_values) ON audit_log TO aisha_trigger;
GRANT SELECT (tenant_id, changed_at, audit_id), UPDATE (salt) ON audit_chain TO aisha_trigger;
