-- ============================================
-- Rollback: 2026-11-28-000018_system_logs
-- Description: Removes the log, the performance log and the list of processes
-- ============================================

DROP TABLE service_instances;
DROP TABLE performance_logs;
DROP TABLE system_logs;
