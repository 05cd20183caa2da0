-- ============================================
-- Rollback: 2026-11-22-000008_transitions
-- Description: Removes the history of conversions and promotions
-- ============================================

DROP TRIGGER b_stamp_archived ON bizdev_sources;
DROP TABLE entity_transitions;
