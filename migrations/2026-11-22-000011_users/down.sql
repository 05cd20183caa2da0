-- ============================================
-- Rollback of: 2026-11-22-000011_users
-- ============================================

DROP TRIGGER employee_follows_user ON users;
DROP TRIGGER user_follows_employee ON employees;
DROP TRIGGER user_follows_new_employee ON employees;
DROP TRIGGER a_link_employee ON employees;

REVOKE SELECT (user_id) ON employees FROM aisha_trigger;
ALTER TABLE employees
    DROP COLUMN emergency_contact_phone_e164,
    DROP COLUMN emergency_contact_phone,
    DROP COLUMN emergency_contact_name,
    DROP COLUMN zip,
    DROP COLUMN state,
    DROP COLUMN city,
    DROP COLUMN address_2,
    DROP COLUMN address_1,
    DROP COLUMN skills,
    DROP COLUMN hourly_rate_minor,
    DROP COLUMN hourly_rate,
    DROP COLUMN employment_type,
    DROP COLUMN hire_date,
    DROP COLUMN manager_employee_id,
    DROP COLUMN employee_number,
    DROP COLUMN is_active,
    DROP COLUMN has_crm_access,
    DROP COLUMN user_email;
SELECT tenant_table('employees', 'tenant', 'employee');

REVOKE SELECT (tenant_id, id, email, role, is_active) ON users FROM aisha_trigger;
DROP POLICY trigger_rows ON users;
ALTER TABLE users DROP COLUMN synced_at, DROP COLUMN external_id, DROP COLUMN last_seen_at;
SELECT audited_table('users', 'user', secret => '{password_hash}', quiet => '{last_login_at}');
