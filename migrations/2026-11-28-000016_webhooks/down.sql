-- ============================================
-- Rollback: 2026-11-28-000016_webhooks
-- Description: Removes the subscriptions and everything that was delivered or still waits
-- ============================================

DROP TABLE webhook_replay;
DROP TABLE webhook_ledger;
DROP TABLE webhook_attempt;
DROP TABLE webhook_delivery;
DROP TABLE webhook_message;
DROP TABLE webhook;
