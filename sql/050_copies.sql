-- ============================================
-- File: 050_copies.sql
-- Description: Denormalised copies of assignee, account and contact: set on write, kept up to date
-- Dependencies: 010_roles.sql; tables employees and accounts (migration records)
-- ============================================
--
-- All of it belongs to aisha_trigger: a rename must reach rows that the one who renames cannot see. The copies are
-- quiet columns, so following a rename changes neither version nor updated_at and makes no audit row and no event.
--
-- Whether there is anything to follow is asked with EXCEPT: it is hashed, while an EXISTS over a join of the transition
-- tables is planned as a nested loop (measured: 2.7 s of 4.4 s for an update of 2,400 rows).

-- BEFORE INSERT or UPDATE, per row, when the assignee is set or changes.
CREATE OR REPLACE FUNCTION copy_assignee() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    NEW.assigned_to_name := (
        SELECT e.first_name || ' ' || e.last_name FROM employees e
        WHERE e.tenant_id = NEW.tenant_id AND e.id = NEW.assigned_to);
    RETURN NEW;
END
$$;

-- BEFORE INSERT or UPDATE, per row, when the account is set or changes.
CREATE OR REPLACE FUNCTION copy_account() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    account record;
BEGIN
    SELECT a.name, a.industry INTO account FROM accounts a
    WHERE a.tenant_id = NEW.tenant_id AND a.id = NEW.account_id;
    NEW.account_name := account.name;
    NEW.account_industry := account.industry;
    RETURN NEW;
END
$$;

-- AFTER UPDATE on employees, per statement. Argument: the table with the copies.
CREATE OR REPLACE FUNCTION spread_assignee() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    IF NOT EXISTS (SELECT tenant_id, id, first_name, last_name FROM new_rows
                   EXCEPT SELECT tenant_id, id, first_name, last_name FROM old_rows) THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'UPDATE %I AS t SET assigned_to_name = n.first_name || '' '' || n.last_name
         FROM new_rows n
         WHERE t.tenant_id = n.tenant_id AND t.assigned_to = n.id
           AND t.assigned_to_name IS DISTINCT FROM n.first_name || '' '' || n.last_name', TG_ARGV[0]);
    RETURN NULL;
END
$$;

-- AFTER UPDATE on accounts, per statement. Argument: the table with the copies.
CREATE OR REPLACE FUNCTION spread_account() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    IF NOT EXISTS (SELECT tenant_id, id, name, industry FROM new_rows
                   EXCEPT SELECT tenant_id, id, name, industry FROM old_rows) THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'UPDATE %I AS t SET account_name = n.name, account_industry = n.industry
         FROM new_rows n
         WHERE t.tenant_id = n.tenant_id AND t.account_id = n.id
           AND (t.account_name, t.account_industry) IS DISTINCT FROM (n.name, n.industry)', TG_ARGV[0]);
    RETURN NULL;
END
$$;

-- BEFORE INSERT or UPDATE, per row, when the contact is set or changes.
CREATE OR REPLACE FUNCTION copy_contact() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    contact record;
BEGIN
    SELECT c.first_name || ' ' || c.last_name AS name, c.email INTO contact FROM contacts c
    WHERE c.tenant_id = NEW.tenant_id AND c.id = NEW.contact_id;
    NEW.contact_name := contact.name;
    NEW.contact_email := contact.email;
    RETURN NEW;
END
$$;

-- AFTER UPDATE on contacts, per statement. Argument: the table with the copies.
CREATE OR REPLACE FUNCTION spread_contact() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    IF NOT EXISTS (SELECT tenant_id, id, first_name, last_name, email FROM new_rows
                   EXCEPT SELECT tenant_id, id, first_name, last_name, email FROM old_rows) THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'UPDATE %I AS t SET contact_name = n.first_name || '' '' || n.last_name, contact_email = n.email
         FROM new_rows n
         WHERE t.tenant_id = n.tenant_id AND t.contact_id = n.id
           AND (t.contact_name, t.contact_email) IS DISTINCT FROM (n.first_name || '' '' || n.last_name, n.email)',
        TG_ARGV[0]);
    RETURN NULL;
END
$$;

-- For a migration, after tenant_table(): keeps tbl.assigned_to_name equal to the assignee's name.
CREATE OR REPLACE FUNCTION copies_assignee(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_assignee_insert BEFORE INSERT ON %s FOR EACH ROW
        WHEN (NEW.assigned_to IS NOT NULL) EXECUTE FUNCTION copy_assignee()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_assignee_update BEFORE UPDATE OF assigned_to ON %s FOR EACH ROW
        WHEN (NEW.assigned_to IS DISTINCT FROM OLD.assigned_to) EXECUTE FUNCTION copy_assignee()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON employees
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
        EXECUTE FUNCTION spread_assignee(%L)', 'spread_to_' || plain, plain);
    EXECUTE format('GRANT SELECT (tenant_id, id, assigned_to, assigned_to_name), UPDATE (assigned_to_name)
        ON %s TO aisha_trigger', tbl);
END
$$;

-- For a migration, after tenant_table(): keeps tbl.account_name and tbl.account_industry equal to the account's.
CREATE OR REPLACE FUNCTION copies_account(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_account_insert BEFORE INSERT ON %s FOR EACH ROW
        WHEN (NEW.account_id IS NOT NULL) EXECUTE FUNCTION copy_account()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_account_update BEFORE UPDATE OF account_id ON %s FOR EACH ROW
        WHEN (NEW.account_id IS DISTINCT FROM OLD.account_id) EXECUTE FUNCTION copy_account()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON accounts
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
        EXECUTE FUNCTION spread_account(%L)', 'spread_to_' || plain, plain);
    EXECUTE format('GRANT SELECT (tenant_id, id, account_id, account_name, account_industry),
        UPDATE (account_name, account_industry) ON %s TO aisha_trigger', tbl);
END
$$;

-- For a migration, after tenant_table(): keeps tbl.contact_name and tbl.contact_email equal to the contact's.
CREATE OR REPLACE FUNCTION copies_contact(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_contact_insert BEFORE INSERT ON %s FOR EACH ROW
        WHEN (NEW.contact_id IS NOT NULL) EXECUTE FUNCTION copy_contact()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_copy_contact_update BEFORE UPDATE OF contact_id ON %s FOR EACH ROW
        WHEN (NEW.contact_id IS DISTINCT FROM OLD.contact_id) EXECUTE FUNCTION copy_contact()', tbl);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON contacts
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
        EXECUTE FUNCTION spread_contact(%L)', 'spread_to_' || plain, plain);
    EXECUTE format('GRANT SELECT (tenant_id, id, contact_id, contact_name, contact_email),
        UPDATE (contact_name, contact_email) ON %s TO aisha_trigger', tbl);
END
$$;
