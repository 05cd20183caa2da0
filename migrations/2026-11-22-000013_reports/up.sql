-- ============================================
-- Migration: 2026-11-22-000013_reports
-- Description: Indexes that reports are read from
-- Date: 2026-11-22
-- Dependencies: 2026-11-22-000007_pipeline
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- Modified Tables:
-- - opportunity_stage_history: whoever sees every deal reads its history without looking each deal up
-- - accounts, contacts, leads, opportunities, activities: vacuumed sooner

-- Indexes Added:
-- - accounts_report, contacts_report, activities_report: how many there are
-- - leads_report, leads_source, leads_team
-- - opportunities_report, opportunities_won, opportunities_forecast, opportunities_team, opportunities_left_out
-- - activities_open, activities_made, activities_team, activities_calendar
-- - opportunity_stage_history_report, cash_flow_report
--
-- A report reads an index and never the table, so each index carries what its report adds up. is_test_data stands in the
-- key, so that a report with test data reads the same index. Those without further columns are a few pages: equal keys
-- are stored once.

CREATE INDEX accounts_report ON accounts (tenant_id, is_test_data) WHERE deleted_at IS NULL;
CREATE INDEX contacts_report ON contacts (tenant_id, is_test_data) WHERE deleted_at IS NULL;

CREATE INDEX leads_report ON leads (tenant_id, is_test_data, status, created_at) WHERE deleted_at IS NULL;
CREATE INDEX leads_source ON leads (tenant_id, is_test_data, source) INCLUDE (status, estimated_value_minor)
    WHERE deleted_at IS NULL;
CREATE INDEX leads_team ON leads (tenant_id, is_test_data, assigned_to, created_at) INCLUDE (status)
    WHERE deleted_at IS NULL;

CREATE INDEX opportunities_report ON opportunities (tenant_id, is_test_data, stage, outcome)
    INCLUDE (amount_minor, probability) WHERE deleted_at IS NULL;
CREATE INDEX opportunities_won ON opportunities (tenant_id, is_test_data, closed_at) INCLUDE (amount_minor)
    WHERE deleted_at IS NULL AND outcome = 'won';
CREATE INDEX opportunities_forecast ON opportunities (tenant_id, is_test_data, close_date)
    INCLUDE (amount_minor, probability) WHERE deleted_at IS NULL AND outcome = 'open';
CREATE INDEX opportunities_team ON opportunities (tenant_id, is_test_data, assigned_to, closed_at)
    INCLUDE (outcome, amount_minor, created_at) WHERE deleted_at IS NULL AND closed_at IS NOT NULL;
CREATE INDEX opportunities_left_out ON opportunities (tenant_id, id) INCLUDE (deleted_at)
    WHERE deleted_at IS NOT NULL OR is_test_data;

CREATE INDEX activities_report ON activities (tenant_id, is_test_data) WHERE deleted_at IS NULL;
CREATE INDEX activities_open ON activities (tenant_id, is_test_data, due_at)
    WHERE deleted_at IS NULL AND status IN ('scheduled', 'pending', 'in-progress');
CREATE INDEX activities_made ON activities (tenant_id, is_test_data, created_at) INCLUDE (type)
    WHERE deleted_at IS NULL;
CREATE INDEX activities_team ON activities (tenant_id, is_test_data, assigned_to, type, completed_at)
    WHERE deleted_at IS NULL AND completed_at IS NOT NULL;
CREATE INDEX activities_calendar ON activities (tenant_id, due_date, due_at, id)
    WHERE deleted_at IS NULL AND due_date IS NOT NULL;

CREATE INDEX opportunity_stage_history_report ON opportunity_stage_history (tenant_id, changed_at)
    INCLUDE (from_stage, opportunity_id, seconds_in_previous) WHERE from_stage IS NOT NULL;

CREATE INDEX cash_flow_report ON cash_flow (tenant_id, is_test_data, transaction_date)
    INCLUDE (transaction_type, category, amount_minor) WHERE deleted_at IS NULL AND status <> 'cancelled';

-- Reading an index alone takes pages that vacuum has marked: at the usual fifth of a large table, reports of this month
-- would read the table after all.
ALTER TABLE accounts SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE contacts SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE leads SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE opportunities SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE activities SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02);

-- The history is still seen with its deal: these two see every deal of the tenant.
DROP POLICY tenant_select ON opportunity_stage_history;
CREATE POLICY all_rows ON opportunity_stage_history FOR SELECT TO aisha_all, aisha_reporting
    USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY rows_of_visible_deals ON opportunity_stage_history FOR SELECT TO aisha_own, aisha_department
    USING (tenant_id = (SELECT current_tenant_id()) AND EXISTS (
        SELECT FROM opportunities o WHERE o.tenant_id = opportunity_stage_history.tenant_id AND o.id = opportunity_id));
