-- ============================================
-- Rollback: 2026-11-28-000015_relay
-- Description: Forgets how far events were published: after another up, all that are kept are published again
-- ============================================

DROP INDEX event_outbox_tenant;
CREATE INDEX event_outbox_tenant ON event_outbox (tenant_id, seq);
ALTER TABLE event_outbox ALTER COLUMN transaction_id SET DEFAULT (pg_current_xact_id()::text::bigint);
DROP TABLE event_relay_member;
DROP TABLE event_relay;
