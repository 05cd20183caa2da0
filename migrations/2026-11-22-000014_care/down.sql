-- ============================================
-- Rollback of 2026-11-22-000014_care: the archive and the log of runs are lost
-- ============================================

SELECT audited_table('activities', 'activity', hidden => '{related_assigned_to,related_created_by}',
    quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by}');
DROP TABLE archived_record;
DROP TABLE data_fix;
DROP TABLE sync_health;
