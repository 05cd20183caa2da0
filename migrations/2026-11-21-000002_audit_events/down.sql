-- ============================================
-- Rollback: 2026-11-21-000002_audit_events
-- Description: Removes the audit log and the event outbox with all their partitions
-- ============================================

DROP TABLE event_outbox;
DROP TABLE audit_log;
