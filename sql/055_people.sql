-- ============================================
-- File: 055_people.sql
-- Description: An employee and its user are one person: one name, one e-mail address, in one transaction
-- Dependencies: 020_context.sql; tables users and employees (migration users)
-- ============================================
--
-- link_employee() belongs to aisha_trigger: it must see users that the writer cannot. The functions that write the other
-- side run as the writer, so that its policies hold and the change is audited like any other.
-- A message that begins with "invalid: " or "conflict: " is meant for the client; COLUMN names the field.

-- BEFORE INSERT or UPDATE on employees, per row. user_email links the user who has that address; user_id is the link.
-- A row of an import (import_id) that collides is left out instead of stopping the rows beside it.
CREATE OR REPLACE FUNCTION link_employee() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    account_id uuid;
    account_email text;
    account_role text;
    account_active boolean;
    linked boolean := false;
    fresh boolean := TG_OP = 'INSERT';
    ranks CONSTANT text[] := '{employee,manager,admin,superadmin}';
    acting text := nullif(current_setting('app.request', true), '')::jsonb ->> 'role';
BEGIN
    IF NOT fresh AND NEW.user_id IS NULL AND OLD.user_id IS NOT NULL THEN
        NEW.user_email := NULL;
    ELSIF NEW.user_id IS NOT NULL THEN
        SELECT u.id, u.email, u.role, u.is_active INTO account_id, account_email, account_role, account_active
        FROM users u
        WHERE u.tenant_id = NEW.tenant_id AND u.id = NEW.user_id;
        linked := FOUND;
        IF NOT fresh AND linked AND NEW.user_id = OLD.user_id AND NEW.user_email IS DISTINCT FROM OLD.user_email
           AND NEW.user_email IS DISTINCT FROM account_email THEN
            RAISE EXCEPTION 'invalid: cannot be changed: the employee has a user; change its e-mail address, or deactivate it'
                USING COLUMN = 'user_email';
        END IF;
    ELSIF NEW.user_email IS NOT NULL THEN
        SELECT u.id, u.email, u.role, u.is_active INTO account_id, account_email, account_role, account_active
        FROM users u
        WHERE u.tenant_id = NEW.tenant_id AND u.email = NEW.user_email
          AND NOT EXISTS (SELECT FROM employees e WHERE e.tenant_id = u.tenant_id AND e.user_id = u.id);
        linked := FOUND;
        IF NOT linked AND fresh AND NEW.import_id IS NOT NULL THEN
            RETURN NULL;
        ELSIF NOT linked THEN
            RAISE EXCEPTION 'invalid: belongs to no user of this tenant who has no employee record yet'
                USING COLUMN = 'user_email';
        END IF;
        NEW.user_id := account_id;
    END IF;

    NEW.has_crm_access := linked AND account_active;
    IF linked THEN
        NEW.user_email := account_email;
        IF fresh OR NEW.user_id IS DISTINCT FROM OLD.user_id THEN
            NEW.email := coalesce(NEW.email, account_email);
            IF NEW.email <> account_email THEN
                IF fresh AND NEW.import_id IS NOT NULL THEN
                    RETURN NULL;
                END IF;
                RAISE EXCEPTION 'invalid: must be the address of the user account' USING COLUMN = 'email';
            END IF;
        ELSIF NEW.email IS NULL THEN
            RAISE EXCEPTION 'invalid: is required: it is the address that the user signs in with'
                USING COLUMN = 'email';
        ELSIF NEW.email IS DISTINCT FROM OLD.email AND NEW.email <> account_email
              AND (array_position(ranks, acting) < 3
                   OR array_position(ranks, acting) < array_position(ranks, account_role)) THEN
            -- The user will follow, and whoever has the address can set a new password.
            RAISE EXCEPTION 'permission denied for the address of a user';
        END IF;
        IF account_active AND NEW.deleted_at IS NOT NULL AND (fresh OR OLD.deleted_at IS NULL) THEN
            RAISE EXCEPTION 'conflict: This employee has an active user: deactivate the user first.'
                USING COLUMN = 'has_crm_access', HINT = 'the user is active';
        END IF;
    END IF;

    IF NEW.email IS NOT NULL AND NEW.deleted_at IS NULL
       AND (fresh OR NEW.email IS DISTINCT FROM OLD.email OR OLD.deleted_at IS NOT NULL)
       AND EXISTS (SELECT FROM users u WHERE u.tenant_id = NEW.tenant_id AND u.email = NEW.email
                   AND u.id IS DISTINCT FROM NEW.user_id) THEN
        IF fresh AND NEW.import_id IS NOT NULL THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'conflict: A user of this tenant already has this email: link it with user_email.'
            USING COLUMN = 'email', HINT = 'is already taken';
    END IF;
    RETURN NEW;
END
$$;

-- AFTER INSERT on employees, per row: what was just written is what holds. Not for the platform itself, which writes the
-- user first and the employee after it.
CREATE OR REPLACE FUNCTION user_follows_new_employee() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    UPDATE users u SET first_name = NEW.first_name, last_name = NEW.last_name
    WHERE u.tenant_id = NEW.tenant_id AND u.id = NEW.user_id
      AND (u.first_name, u.last_name) IS DISTINCT FROM (NEW.first_name, NEW.last_name);
    RETURN NULL;
END
$$;

-- AFTER UPDATE on employees, per row: only what changed, because a user need not have both names.
CREATE OR REPLACE FUNCTION user_follows_employee() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    UPDATE users u
    SET first_name = CASE WHEN NEW.first_name <> OLD.first_name THEN NEW.first_name ELSE u.first_name END,
        last_name = CASE WHEN NEW.last_name <> OLD.last_name THEN NEW.last_name ELSE u.last_name END,
        email = CASE WHEN NEW.email IS DISTINCT FROM OLD.email THEN NEW.email ELSE u.email END
    WHERE u.tenant_id = NEW.tenant_id AND u.id = NEW.user_id;
    RETURN NULL;
END
$$;

-- AFTER UPDATE on users, per row. An employee on leave or gone stays so whatever becomes of its user.
CREATE OR REPLACE FUNCTION employee_follows_user() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    IF row_security_active('employees') AND current_tenant_id() IS DISTINCT FROM NEW.tenant_id THEN
        RAISE EXCEPTION 'a transaction that changes a user must name its tenant';
    END IF;
    UPDATE employees e
    SET first_name = coalesce(nullif(NEW.first_name, ''), e.first_name),
        last_name = coalesce(nullif(NEW.last_name, ''), e.last_name),
        email = CASE WHEN NEW.email <> OLD.email THEN NEW.email ELSE e.email END,
        user_email = NEW.email,
        has_crm_access = NEW.is_active,
        status = CASE WHEN NEW.is_active = OLD.is_active THEN e.status
                      WHEN NEW.is_active AND e.status = 'inactive' THEN 'active'
                      WHEN NOT NEW.is_active AND e.status = 'active' THEN 'inactive'
                      ELSE e.status END
    WHERE e.tenant_id = NEW.tenant_id AND e.user_id = NEW.id;
    RETURN NULL;
END
$$;
