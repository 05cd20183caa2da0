-- ============================================
-- Rollback: 2026-11-28-000019_notifications
-- Description: Removes notifications; imports are no events any more
-- ============================================

SELECT tenant_table('import_log', 'created',
    quiet => '{total_records,success_count,updated_count,skipped_count,error_count,errors,updated_at}');
DROP TABLE notification_event;
DROP TABLE notification_setting;
DROP TABLE notifications;
