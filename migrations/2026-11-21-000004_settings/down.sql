-- ============================================
-- Rollback: 2026-11-21-000004_settings
-- Description: Removes module settings and custom fields
-- ============================================

DROP TABLE custom_fields;
DROP TABLE module_settings;
