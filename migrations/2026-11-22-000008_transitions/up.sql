-- ============================================
-- Migration: 2026-11-22-000008_transitions
-- Description: What became of a record: conversions of leads, promotions of sources, and taking them back
-- Date: 2026-11-22
-- Dependencies: 2026-11-22-000007_pipeline
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - entity_transitions: one row per conversion, promotion and rollback, with what it made and what it moved

-- Modified Tables:
-- - bizdev_sources: archived_at follows the status

-- Indexes Added:
-- - entity_transitions_entity

CREATE TABLE entity_transitions (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    -- the lead or the source, whichever way it went
    entity_id uuid NOT NULL,
    from_type text NOT NULL CHECK (from_type IN ('lead', 'contact', 'bizdev_source', 'account')),
    to_type text NOT NULL CHECK (to_type IN ('lead', 'contact', 'bizdev_source', 'account')),
    action text NOT NULL CHECK (action IN ('convert', 'promote', 'rollback')),
    transition_data jsonb NOT NULL DEFAULT '{}',
    performed_by uuid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX entity_transitions_entity ON entity_transitions (tenant_id, entity_id, created_at);

-- Read with its record: whoever sees the one sees the other. Written once, by whoever makes the transition.
SELECT secure_table('entity_transitions');
CREATE POLICY all_rows ON entity_transitions FOR SELECT TO aisha_all, aisha_reporting
    USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY own_select ON entity_transitions FOR SELECT TO aisha_own, aisha_department
    USING (tenant_id = (SELECT current_tenant_id()) AND (
        EXISTS (SELECT FROM leads l WHERE l.tenant_id = entity_transitions.tenant_id AND l.id = entity_id)
        OR EXISTS (SELECT FROM contacts c WHERE c.tenant_id = entity_transitions.tenant_id AND c.id = entity_id)
        OR EXISTS (SELECT FROM bizdev_sources b
                   WHERE b.tenant_id = entity_transitions.tenant_id AND b.id = entity_id)));
CREATE POLICY tenant_insert ON entity_transitions FOR INSERT TO aisha_all, aisha_own, aisha_department
    WITH CHECK (tenant_id = (SELECT current_tenant_id()) AND performed_by = (SELECT current_user_id()));
CREATE POLICY system_rows ON entity_transitions TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
GRANT SELECT ON entity_transitions TO aisha_reporting;
GRANT SELECT, INSERT ON entity_transitions TO aisha_all, aisha_own, aisha_department;
GRANT SELECT, INSERT, UPDATE, DELETE ON entity_transitions TO aisha_system;

CREATE TRIGGER b_stamp_archived BEFORE INSERT OR UPDATE OF status ON bizdev_sources FOR EACH ROW
    EXECUTE FUNCTION stamp_archived();
