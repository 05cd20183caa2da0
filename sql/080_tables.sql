-- ============================================
-- File: 080_tables.sql
-- Description: What a migration calls after CREATE TABLE: security, grants, audit, events, scope indexes
-- Dependencies: 010 to 060 of this directory
-- ============================================
--
-- All of these may be called again for the same table, and must be after columns were added or removed: triggers and
-- grants name columns.

-- A table that only the named policies open.
CREATE OR REPLACE FUNCTION secure_table(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    policy text;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
    FOR policy IN SELECT polname FROM pg_policy WHERE polrelid = tbl LOOP
        EXECUTE format('DROP POLICY %I ON %s', policy, tbl);
    END LOOP;
END
$$;

-- Grants SELECT on every column except the secret ones.
CREATE OR REPLACE FUNCTION grant_read(tbl regclass, reader name, secret text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    IF secret = '{}' THEN
        EXECUTE format('GRANT SELECT ON %s TO %I', tbl, reader);
    ELSE
        EXECUTE format('GRANT SELECT (%s) ON %s TO %I',
            (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = tbl AND attnum > 0 AND NOT attisdropped AND attname <> ALL (secret)), tbl, reader);
    END IF;
END
$$;

-- Audit rows, events, version and updated_at.
--   entity  name in events ('contact' makes contact.created …); '' for audit without events
--   secret  columns that reach neither audit nor events
--   hidden  columns that do not reach events, beside import_id, deleted_by and generated texts
--   quiet   columns whose changes alone leave no trace: copies, last use
-- Generated columns are the database's own affair: what they are made of is audited. Events carry those that the API shows
-- (amounts in minor units, flags, a full name) and none of the texts that searching and comparing are done with.
-- aisha_trigger has UPDATE on copies only, so its updates need not be looked at.
CREATE OR REPLACE FUNCTION audited_table(tbl regclass, entity text DEFAULT '', secret text[] DEFAULT '{}',
                                         hidden text[] DEFAULT '{}', quiet text[] DEFAULT '{}',
                                         tenant_column text DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    derived text[] := coalesce((SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                                WHERE attrelid = tbl AND attgenerated = 's' AND NOT attisdropped), '{}');
    internal text[] := coalesce((SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                                 WHERE attrelid = tbl AND attgenerated = 's' AND NOT attisdropped
                                   AND atttypid = 'text'::regtype AND attname <> 'full_name'), '{}');
    unaudited text[] := secret || derived || '{version,updated_at}';
    unpublished text[] := secret || internal || hidden || '{import_id,deleted_by}';
    arguments text := format('%L, %L, %L, %L, %L', entity, tenant_column, unaudited, unpublished, quiet);
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER record_insert AFTER INSERT ON %s
        REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION record_rows(%s)', tbl, arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER record_delete AFTER DELETE ON %s
        REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION record_rows(%s)', tbl, arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER record_update AFTER UPDATE ON %s
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
        WHEN (current_user <> ''aisha_trigger'') EXECUTE FUNCTION record_updates(%s)', tbl, arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON %s FOR EACH ROW
        WHEN (current_user <> ''aisha_trigger'') EXECUTE FUNCTION touch_record(%L, %L)', tbl, quiet, derived);
END
$$;

-- The one call for a table of a tenant's data. Scopes:
--   owned     has assigned_to and created_by: aisha_own and aisha_department see their part, the others all
--   attached  owned, and belongs to another record (055_related.sql): seen with that record as well
--   created   aisha_own and aisha_department see what the caller created, the others all
--   personal  aisha_own and aisha_department see the rows of the caller (user_id), the others all
--   private   every role but aisha_system sees the rows of the caller only (user_id)
--   tenant    every role sees every row
-- All of them within the current tenant, aisha_system too. What a role writes must stay in the tenant, and for created,
-- personal and private also in its scope; an owned or attached record may leave it. entity null: neither audit nor events.
CREATE OR REPLACE FUNCTION tenant_table(tbl regclass, scope text, entity text DEFAULT '', secret text[] DEFAULT '{}',
                                        hidden text[] DEFAULT '{}', quiet text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
    tenant CONSTANT text := 'tenant_id = (SELECT current_tenant_id())';
    mine CONSTANT text := tenant || ' AND user_id = (SELECT current_user_id())';
    all_rows text := tenant;
    own_rows text;
    department_rows text;
    all_writes text := tenant;
    own_writes text := tenant;
BEGIN
    CASE scope
    WHEN 'owned' THEN
        own_rows := tenant || ' AND (assigned_to = (SELECT current_employee_id())
            OR created_by = (SELECT current_user_id()) OR id = handed_over())';
        department_rows := tenant || ' AND (assigned_to = ANY ((SELECT department_employee_ids())::uuid[])
            OR created_by = (SELECT current_user_id()) OR id = handed_over())';
    WHEN 'attached' THEN
        own_rows := tenant || ' AND (assigned_to = (SELECT current_employee_id())
            OR created_by = (SELECT current_user_id()) OR related_assigned_to = (SELECT current_employee_id())
            OR related_created_by = (SELECT current_user_id()) OR id = handed_over())';
        department_rows := tenant || ' AND (assigned_to = ANY ((SELECT department_employee_ids())::uuid[])
            OR created_by = (SELECT current_user_id())
            OR related_assigned_to = ANY ((SELECT department_employee_ids())::uuid[])
            OR related_created_by = (SELECT current_user_id()) OR id = handed_over())';
    WHEN 'created' THEN
        own_rows := tenant || ' AND created_by = (SELECT current_user_id())';
        department_rows := own_rows;
        own_writes := own_rows;
    WHEN 'personal' THEN
        own_rows := mine;
        department_rows := mine;
        own_writes := mine;
    WHEN 'private' THEN
        all_rows := mine;
        own_rows := mine;
        department_rows := mine;
        all_writes := mine;
        own_writes := mine;
    WHEN 'tenant' THEN
        own_rows := tenant;
        department_rows := tenant;
    END CASE;

    PERFORM secure_table(tbl);
    EXECUTE format('CREATE POLICY all_rows ON %s TO aisha_all USING (%s) WITH CHECK (%s)', tbl, all_rows, all_writes);
    EXECUTE format('CREATE POLICY system_rows ON %s TO aisha_system USING (%s) WITH CHECK (%s)', tbl, tenant, tenant);
    EXECUTE format('CREATE POLICY reporting_rows ON %s FOR SELECT TO aisha_reporting USING (%s)', tbl, tenant);
    EXECUTE format('CREATE POLICY own_select ON %s FOR SELECT TO aisha_own USING (%s)', tbl, own_rows);
    EXECUTE format('CREATE POLICY own_insert ON %s FOR INSERT TO aisha_own WITH CHECK (%s)', tbl, own_writes);
    EXECUTE format('CREATE POLICY own_update ON %s FOR UPDATE TO aisha_own USING (%s) WITH CHECK (%s)',
                   tbl, own_rows, own_writes);
    EXECUTE format('CREATE POLICY department_select ON %s FOR SELECT TO aisha_department USING (%s)',
                   tbl, department_rows);
    EXECUTE format('CREATE POLICY department_insert ON %s FOR INSERT TO aisha_department WITH CHECK (%s)',
                   tbl, own_writes);
    EXECUTE format('CREATE POLICY department_update ON %s FOR UPDATE TO aisha_department USING (%s) WITH CHECK (%s)',
                   tbl, department_rows, own_writes);
    EXECUTE format('CREATE POLICY trigger_rows ON %s TO aisha_trigger USING (true)', tbl);
    EXECUTE format('CREATE POLICY search_rows ON %s FOR SELECT TO aisha_search USING (true)', tbl);

    PERFORM grant_read(tbl, reader, secret)
    FROM unnest('{aisha_all,aisha_own,aisha_department,aisha_reporting}'::name[]) AS reader;
    EXECUTE format('GRANT INSERT, UPDATE ON %s TO aisha_all, aisha_own, aisha_department', tbl);
    EXECUTE format('GRANT DELETE ON %s TO aisha_all', tbl);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO aisha_system', tbl);

    IF entity IS NOT NULL THEN
        PERFORM audited_table(tbl, entity, secret, hidden, quiet);
    END IF;
    IF scope = 'attached' THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER a_begin_hand_over BEFORE UPDATE OF assigned_to, related_id ON %s
            FOR EACH ROW WHEN ((NEW.assigned_to, NEW.related_id) IS DISTINCT FROM (OLD.assigned_to, OLD.related_id))
            EXECUTE FUNCTION begin_hand_over()', tbl);
        PERFORM attached_table(tbl);
    ELSIF scope = 'owned' THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER a_begin_hand_over BEFORE UPDATE OF assigned_to ON %s FOR EACH ROW
            WHEN (NEW.assigned_to IS DISTINCT FROM OLD.assigned_to) EXECUTE FUNCTION begin_hand_over()', tbl);
    END IF;
    IF scope IN ('owned', 'attached') THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER end_hand_over AFTER UPDATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION end_hand_over()', tbl);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, created_at DESC, id DESC)
            WHERE deleted_at IS NULL', plain || '_list', tbl);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, assigned_to, created_at DESC, id DESC)',
                       plain || '_assigned', tbl);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, created_by, created_at DESC, id DESC)',
                       plain || '_created', tbl);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id) INCLUDE (assigned_to, created_by)
            WHERE deleted_at IS NULL', plain || '_count', tbl);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, import_id) WHERE import_id IS NOT NULL',
                       plain || '_import', tbl);
        -- the trash: its list, and what is purged after thirty days
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL',
                       plain || '_trash', tbl);
    END IF;
END
$$;
