-- ============================================
-- File: 075_migrations.sql
-- Description: Which migrations have been applied, for a service that asks whether its database is current
-- Dependencies: 010_roles.sql; the table of the migration runner
-- ============================================

-- Belongs to the owner, who alone may read the runner's table.
CREATE OR REPLACE FUNCTION applied_migrations() RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(version::text ORDER BY version), '{}') FROM __diesel_schema_migrations);
END
$$;

GRANT EXECUTE ON FUNCTION applied_migrations() TO aisha_system;
