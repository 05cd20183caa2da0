-- ============================================
-- Rollback: 2026-11-28-000017_audit_chain
-- Description: Removes the chains with all they prove; the audit log stays, and what was erased from it stays erased
-- ============================================

REVOKE SELECT (tenant_id, table_name, record_id, action, changed_at, id, old_values, new_values),
    UPDATE (old_values, new_values) ON audit_log FROM aisha_trigger;
DROP POLICY trigger_redact ON audit_log;
DROP POLICY trigger_select ON audit_log;
DROP TABLE audit_sealing;
DROP TABLE audit_chain_state;
DROP TABLE audit_chain;
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, changed_at DESC);
DROP INDEX audit_log_failed, audit_log_action, audit_log_table, audit_log_user, audit_log_list, audit_log_sealing;
ALTER TABLE audit_log DROP COLUMN transaction_id;
