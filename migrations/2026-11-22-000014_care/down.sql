-- ============================================
-- Rollback: 2026-11-22-000014_care
-- Description: Removes the archive with what is in it, and the log of runs
-- ============================================

SELECT audited_table('activities', 'activity', hidden => '{related_assigned_to,related_created_by}',
    quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by}');
DROP TABLE archived_record;
DROP TABLE data_fix;
DROP TABLE sync_health;
