-- ============================================
-- File: 055_related.sql
-- Description: Activities and notes: the record they belong to, what is copied from it, and seeing them with it
-- Dependencies: 010_roles.sql, 020_context.sql; the record tables
-- ============================================
--
-- A row with related_type and related_id belongs to one record of any of these types. Its name, its e-mail address and
-- whose it is are copied, so that lists show the record and its owner sees what belongs to it without a join. The
-- copies are quiet columns.

-- BEFORE INSERT or UPDATE, per row, with the caller's rights: what is linked must be live and visible to the caller. What
-- comes back from the archive keeps its link, which may be to another archived record.
CREATE OR REPLACE FUNCTION check_related() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    found boolean := false;
BEGIN
    IF NEW.related_id IS NULL THEN
        NEW.related_type := NULL;
        RETURN NEW;
    END IF;
    IF archiving() THEN
        RETURN NEW;
    END IF;
    CASE NEW.related_type
    WHEN 'account' THEN found := EXISTS (SELECT FROM accounts
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    WHEN 'activity' THEN found := EXISTS (SELECT FROM activities
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    WHEN 'bizdev_source' THEN found := EXISTS (SELECT FROM bizdev_sources
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    WHEN 'contact' THEN found := EXISTS (SELECT FROM contacts
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    WHEN 'lead' THEN found := EXISTS (SELECT FROM leads
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    WHEN 'opportunity' THEN found := EXISTS (SELECT FROM opportunities
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id AND deleted_at IS NULL);
    ELSE
        RAISE EXCEPTION 'related_id without related_type' USING ERRCODE = 'check_violation',
            CONSTRAINT = 'related_id', TABLE = TG_TABLE_NAME, HINT = 'needs related_type beside it';
    END CASE;
    IF NOT found THEN
        RAISE EXCEPTION 'related_id names no record to use' USING ERRCODE = 'foreign_key_violation',
            CONSTRAINT = 'related_id', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

-- BEFORE INSERT or UPDATE, per row, after check_related(). The lock keeps the record until this row is committed, as a
-- foreign key would.
CREATE OR REPLACE FUNCTION copy_related() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    target_name text;
    target_email text;
    target_assigned_to uuid;
    target_created_by uuid;
BEGIN
    -- one type for every branch: the plan of what follows is kept from the first row of a session
    CASE coalesce(NEW.related_type, '')
    WHEN 'account' THEN
        SELECT name, email, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM accounts
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    WHEN 'activity' THEN
        SELECT subject, NULL::text, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM activities
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    WHEN 'bizdev_source' THEN
        SELECT company_name, email, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM bizdev_sources
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    WHEN 'contact' THEN
        SELECT first_name || ' ' || last_name, email, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM contacts
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    WHEN 'lead' THEN
        SELECT first_name || ' ' || last_name, email, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM leads
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    WHEN 'opportunity' THEN
        SELECT name, contact_email, assigned_to, created_by
        INTO target_name, target_email, target_assigned_to, target_created_by FROM opportunities
        WHERE tenant_id = NEW.tenant_id AND id = NEW.related_id FOR KEY SHARE;
    ELSE
        NULL;
    END CASE;
    IF NEW.related_id IS NOT NULL AND NOT FOUND THEN
        IF archiving() THEN
            RETURN NEW;
        END IF;
        -- removed for good while this row waited for the lock
        RAISE EXCEPTION 'related_id names no record to use' USING ERRCODE = 'foreign_key_violation',
            CONSTRAINT = 'related_id', TABLE = TG_TABLE_NAME;
    END IF;
    NEW.related_name := target_name;
    NEW.related_email := target_email;
    NEW.related_assigned_to := target_assigned_to;
    NEW.related_created_by := target_created_by;
    RETURN NEW;
END
$$;

-- AFTER UPDATE on a record table, per statement. Arguments: the related type, and the SQL of name and e-mail address.
CREATE OR REPLACE FUNCTION spread_related() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    attached text;
    changed boolean;
BEGIN
    -- hashed, see 050_copies.sql
    EXECUTE format('SELECT EXISTS (SELECT id, %1$s, %2$s, assigned_to FROM new_rows
        EXCEPT SELECT id, %1$s, %2$s, assigned_to FROM old_rows)',
        TG_ARGV[1], TG_ARGV[2]) INTO changed;
    IF NOT changed THEN
        RETURN NULL;
    END IF;
    FOREACH attached IN ARRAY '{activities,notes}'::text[] LOOP
        EXECUTE format('UPDATE %1$I AS t
            SET related_name = n.name, related_email = n.email, related_assigned_to = n.assigned_to
            FROM (SELECT tenant_id, id, %2$s AS name, %3$s AS email, assigned_to FROM new_rows) n
            WHERE t.tenant_id = n.tenant_id AND t.related_id = n.id AND t.related_type = %4$L
              AND (t.related_name, t.related_email, t.related_assigned_to)
                  IS DISTINCT FROM (n.name, n.email, n.assigned_to)',
            attached, TG_ARGV[1], TG_ARGV[2], TG_ARGV[0]);
    END LOOP;
    RETURN NULL;
END
$$;

-- AFTER DELETE on a record table, per statement: what belonged to a purged record belongs to none; an archived record keeps
-- what belongs to it. Argument: the type.
CREATE OR REPLACE FUNCTION unlink_related() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    attached text;
BEGIN
    IF archiving() THEN
        RETURN NULL;
    END IF;
    FOREACH attached IN ARRAY '{activities,notes}'::text[] LOOP
        EXECUTE format('UPDATE %1$I AS t SET related_type = NULL, related_id = NULL
            FROM old_rows o
            WHERE t.tenant_id = o.tenant_id AND t.related_id = o.id AND t.related_type = %2$L', attached, TG_ARGV[0]);
    END LOOP;
    RETURN NULL;
END
$$;

-- For a migration, after tenant_table(tbl, 'attached', …): tbl has the columns of a row that belongs to a record.
CREATE OR REPLACE FUNCTION attached_table(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER b_check_related_insert BEFORE INSERT ON %s FOR EACH ROW
        WHEN (NEW.related_id IS NOT NULL OR NEW.related_type IS NOT NULL) EXECUTE FUNCTION check_related()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_check_related_update BEFORE UPDATE OF related_type, related_id ON %s
        FOR EACH ROW WHEN ((NEW.related_type, NEW.related_id) IS DISTINCT FROM (OLD.related_type, OLD.related_id))
        EXECUTE FUNCTION check_related()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER c_copy_related_insert BEFORE INSERT ON %s FOR EACH ROW
        WHEN (NEW.related_id IS NOT NULL) EXECUTE FUNCTION copy_related()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER c_copy_related_update BEFORE UPDATE OF related_type, related_id ON %s
        FOR EACH ROW WHEN ((NEW.related_type, NEW.related_id) IS DISTINCT FROM (OLD.related_type, OLD.related_id))
        EXECUTE FUNCTION copy_related()', tbl);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, related_id, created_at DESC, id DESC)
        WHERE related_id IS NOT NULL', plain || '_related', tbl);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, related_assigned_to, created_at DESC, id DESC)
        WHERE related_assigned_to IS NOT NULL', plain || '_related_assigned', tbl);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (tenant_id, related_created_by, created_at DESC, id DESC)
        WHERE related_created_by IS NOT NULL', plain || '_related_created', tbl);
    EXECUTE format('GRANT SELECT (tenant_id, id, related_type, related_id, related_name, related_email,
        related_assigned_to, related_created_by), UPDATE (related_type, related_id, related_name, related_email,
        related_assigned_to, related_created_by) ON %s TO aisha_trigger', tbl);
    EXECUTE format('GRANT SELECT (related_assigned_to, related_created_by) ON %s TO aisha_search', tbl);
END
$$;

-- For a migration: activities and notes can belong to rows of tbl. name and email are SQL over its columns.
CREATE OR REPLACE FUNCTION relatable_table(tbl regclass, related_type text, name text, email text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER spread_to_attached AFTER UPDATE ON %s
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
        EXECUTE FUNCTION spread_related(%L, %L, %L)', tbl, related_type, name, email);
    EXECUTE format('CREATE OR REPLACE TRIGGER unlink_attached AFTER DELETE ON %s
        REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION unlink_related(%L)', tbl, related_type);
END
$$;
