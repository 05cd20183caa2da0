-- ============================================
-- Rollback: 2026-11-22-000013_reports
-- Description: Removes the indexes of reports; the history is read through its deals by everybody again
-- ============================================

DROP POLICY rows_of_visible_deals ON opportunity_stage_history;
DROP POLICY all_rows ON opportunity_stage_history;
CREATE POLICY tenant_select ON opportunity_stage_history FOR SELECT
    TO aisha_all, aisha_own, aisha_department, aisha_reporting
    USING (tenant_id = (SELECT current_tenant_id()) AND EXISTS (
        SELECT FROM opportunities o WHERE o.tenant_id = opportunity_stage_history.tenant_id AND o.id = opportunity_id));

ALTER TABLE accounts RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE contacts RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE leads RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE opportunities RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE activities RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);

DROP INDEX accounts_report, contacts_report, leads_report, leads_source, leads_team, opportunities_report,
    opportunities_won, opportunities_forecast, opportunities_team, opportunities_left_out, activities_report,
    activities_open, activities_made, activities_team, activities_calendar, opportunity_stage_history_report,
    cash_flow_report;
