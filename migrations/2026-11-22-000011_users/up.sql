-- ============================================
-- Migration: 2026-11-22-000011_users
-- Description: Presence and directory of users; employees know their user and carry what a personnel file holds
-- Date: 2026-11-22
-- Dependencies: 2026-11-21-000003_records; sql/055_people.sql
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - An employee and its user have one name and one e-mail address: changing either changes both
-- - An employee whose user is active cannot be moved to the trash

-- New Columns:
-- - users: last_seen_at, external_id, synced_at
-- - employees: user_email, has_crm_access, is_active, employee_number, manager_employee_id, hire_date,
--   employment_type, hourly_rate, skills, address, emergency contact

-- Indexes Added:
-- - users_external_id, employees_manager

-- last_seen_at has no index on purpose: a heartbeat then changes no index page.
ALTER TABLE users
    ADD COLUMN last_seen_at timestamptz,
    ADD COLUMN external_id varchar(200) CHECK (external_id <> ''),
    ADD COLUMN synced_at timestamptz;
CREATE UNIQUE INDEX users_external_id ON users (tenant_id, external_id) WHERE external_id IS NOT NULL;
GRANT SELECT (last_seen_at, external_id, synced_at) ON users TO aisha_all, aisha_own, aisha_department,
    aisha_reporting;
CREATE POLICY trigger_rows ON users FOR SELECT TO aisha_trigger USING (true);
GRANT SELECT (tenant_id, id, email, role, is_active) ON users TO aisha_trigger;
SELECT audited_table('users', 'user', secret => '{password_hash}', quiet => '{last_login_at,last_seen_at,synced_at}');

ALTER TABLE employees
    ADD COLUMN user_email varchar(320) CHECK (user_email = lower(user_email)),
    ADD COLUMN has_crm_access boolean NOT NULL DEFAULT false,
    ADD COLUMN is_active boolean NOT NULL GENERATED ALWAYS AS (status = 'active') STORED,
    ADD COLUMN employee_number varchar(100),
    ADD COLUMN manager_employee_id uuid
        CONSTRAINT employees_manager_employee_id_check CHECK (manager_employee_id <> id),
    ADD COLUMN hire_date date,
    ADD COLUMN employment_type text NOT NULL DEFAULT 'full_time'
        CHECK (employment_type IN ('full_time', 'part_time', 'contractor', 'seasonal')),
    ADD COLUMN hourly_rate numeric(15, 2) CHECK (hourly_rate >= 0),
    ADD COLUMN hourly_rate_minor bigint GENERATED ALWAYS AS ((hourly_rate * 100)::bigint) STORED,
    ADD COLUMN skills text[] NOT NULL DEFAULT '{}',
    ADD COLUMN address_1 varchar(500),
    ADD COLUMN address_2 varchar(500),
    ADD COLUMN city varchar(200),
    ADD COLUMN state varchar(200),
    ADD COLUMN zip varchar(50),
    ADD COLUMN emergency_contact_name varchar(200),
    ADD COLUMN emergency_contact_phone varchar(100),
    ADD COLUMN emergency_contact_phone_e164 text CHECK (emergency_contact_phone_e164 ~ '^\+[0-9]{3,15}$'),
    ADD FOREIGN KEY (tenant_id, manager_employee_id) REFERENCES employees (tenant_id, id)
        ON DELETE SET NULL (manager_employee_id);
CREATE INDEX employees_manager ON employees (tenant_id, manager_employee_id) WHERE manager_employee_id IS NOT NULL;
SELECT tenant_table('employees', 'tenant', 'employee', quiet => '{user_email,has_crm_access}');
GRANT SELECT (user_id) ON employees TO aisha_trigger;

-- Employees that have a user already. Row-level security shows the platform one tenant at a time.
GRANT aisha_system TO CURRENT_USER;
SET LOCAL ROLE aisha_system;
DO $$
DECLARE
    one uuid;
BEGIN
    FOR one IN SELECT id FROM tenant LOOP
        PERFORM set_config('app.current_tenant_id', one::text, true);
        UPDATE employees e SET user_email = u.email, has_crm_access = u.is_active
        FROM users u
        WHERE e.tenant_id = one AND u.tenant_id = one AND u.id = e.user_id;
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;
RESET ROLE;
REVOKE aisha_system FROM CURRENT_USER;

CREATE TRIGGER a_link_employee BEFORE INSERT OR UPDATE ON employees
    FOR EACH ROW EXECUTE FUNCTION link_employee();
-- At depth 0 only: a change that follows another one is not followed back.
CREATE TRIGGER user_follows_new_employee AFTER INSERT ON employees
    FOR EACH ROW WHEN (NEW.user_id IS NOT NULL AND current_user <> 'aisha_system' AND pg_trigger_depth() = 0)
    EXECUTE FUNCTION user_follows_new_employee();
CREATE TRIGGER user_follows_employee AFTER UPDATE ON employees
    FOR EACH ROW WHEN (NEW.user_id IS NOT NULL AND pg_trigger_depth() = 0
        AND (NEW.first_name, NEW.last_name, NEW.email) IS DISTINCT FROM (OLD.first_name, OLD.last_name, OLD.email))
    EXECUTE FUNCTION user_follows_employee();
CREATE TRIGGER employee_follows_user AFTER UPDATE OF first_name, last_name, email, is_active ON users
    FOR EACH ROW WHEN (NEW.tenant_id IS NOT NULL AND pg_trigger_depth() = 0
        AND (NEW.first_name, NEW.last_name, NEW.email, NEW.is_active)
            IS DISTINCT FROM (OLD.first_name, OLD.last_name, OLD.email, OLD.is_active))
    EXECUTE FUNCTION employee_follows_user();
