-- ============================================
-- File: 065_merges.sql
-- Description: What merging records needs in the database
-- Dependencies: 010_roles.sql; columns merged_into (migration merges)
-- ============================================

-- A list of ids in which some have become one: in its order, each id once.
CREATE OR REPLACE FUNCTION replace_ids(ids text[], gone text[], kept text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(array_agg(id ORDER BY place), '{}') FROM (
        SELECT CASE WHEN old = ANY (gone) THEN kept ELSE old END AS id, min(place) AS place
        FROM unnest(ids) WITH ORDINALITY AS u (old, place) GROUP BY 1) AS replaced
$$;

-- BEFORE UPDATE, per row, when a merged record comes back from the trash: it is a record of its own again.
CREATE OR REPLACE FUNCTION leave_merge() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    NEW.merged_into := NULL;
    RETURN NEW;
END
$$;

GRANT EXECUTE ON FUNCTION replace_ids(text[], text[], text)
    TO aisha_all, aisha_own, aisha_department, aisha_system;
