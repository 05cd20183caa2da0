-- ============================================
-- Rollback: 2026-11-21-000005_imports
-- Description: Removes imports and stored answers
-- ============================================

DROP TABLE idempotency_key;
DROP TABLE import_row;
DROP TABLE import_log;
