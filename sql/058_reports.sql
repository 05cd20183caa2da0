-- ============================================
-- File: 058_reports.sql
-- Description: The time zone that a tenant's days are counted in
-- Dependencies: 010_roles.sql; table tenant
-- ============================================

-- settings.timezone of the tenant; UTC when it has none, or none that the server knows.
CREATE OR REPLACE FUNCTION tenant_timezone(tenant uuid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public
AS $$
DECLARE
    zone text := (SELECT nullif(t.settings ->> 'timezone', '') FROM tenant t WHERE t.id = tenant_timezone.tenant);
BEGIN
    PERFORM now() AT TIME ZONE zone;
    RETURN coalesce(zone, 'UTC');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN 'UTC';
END
$$;

GRANT EXECUTE ON FUNCTION tenant_timezone(uuid) TO aisha_all, aisha_own, aisha_department, aisha_reporting,
    aisha_system, aisha_trigger;
