-- ============================================
-- Rollback: 2026-11-22-000007_pipeline
-- Description: Removes cash flow, notes, activities, opportunities and leads, and the views over them
-- ============================================

DROP VIEW v_account_related_people, v_activity_calendar, v_opportunity_pipeline, v_contact_full;
DROP TRIGGER spread_to_attached ON accounts;
DROP TRIGGER unlink_attached ON accounts;
DROP TRIGGER spread_to_attached ON bizdev_sources;
DROP TRIGGER unlink_attached ON bizdev_sources;
DROP TRIGGER spread_to_attached ON contacts;
DROP TRIGGER unlink_attached ON contacts;
DROP TRIGGER spread_to_leads ON accounts;
DROP TRIGGER spread_to_leads ON employees;
DROP TRIGGER spread_to_opportunities ON accounts;
DROP TRIGGER spread_to_opportunities ON contacts;
DROP TRIGGER spread_to_opportunities ON employees;
DROP TRIGGER spread_to_activities ON employees;
DROP TRIGGER spread_to_notes ON employees;
DROP TRIGGER spread_to_cash_flow ON accounts;
DROP TRIGGER spread_to_cash_flow ON employees;
DROP TRIGGER spread_to_bizdev_sources ON accounts;
DROP TRIGGER b_copy_account_insert ON bizdev_sources;
DROP TRIGGER b_copy_account_update ON bizdev_sources;
DROP TABLE cash_flow, notes, activities, opportunity_stage_history;
ALTER TABLE leads DROP COLUMN converted_opportunity_id;
DROP TABLE opportunities;
DROP TABLE leads;
ALTER TABLE bizdev_sources
    DROP COLUMN account_id, DROP COLUMN account_name, DROP COLUMN account_industry, DROP COLUMN contact_id,
    DROP COLUMN lead_ids, DROP COLUMN promoted_at, DROP COLUMN archived_at;
SELECT tenant_table('bizdev_sources', 'owned', 'bizdev_source', hidden => '{company_key}', quiet => '{assigned_to_name}');
DROP POLICY trigger_rows ON tenant;
REVOKE SELECT (id, settings) ON tenant FROM aisha_trigger;
REVOKE SELECT (tenant_id, module_name, settings) ON module_settings FROM aisha_trigger;
REVOKE SELECT (email, assigned_to, created_by) ON accounts FROM aisha_trigger;
REVOKE SELECT (first_name, last_name, email, created_by) ON contacts FROM aisha_trigger;
REVOKE SELECT (company_name, email, created_by) ON bizdev_sources FROM aisha_trigger;
