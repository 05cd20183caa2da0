-- ============================================
-- File: 020_context.sql
-- Description: Who is asking, read from the transaction-local settings; what every policy is made of
-- Dependencies: 010_roles.sql
-- ============================================
--
-- A setting that was never made, or that ended with its transaction, reads as null or as an empty string: both
-- mean null here, and a policy that compares with null lets no row through.

CREATE OR REPLACE FUNCTION current_tenant_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$ SELECT nullif(current_setting('app.current_tenant_id', true), '')::uuid $$;

CREATE OR REPLACE FUNCTION current_user_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$ SELECT nullif(current_setting('app.current_user_id', true), '')::uuid $$;

CREATE OR REPLACE FUNCTION current_employee_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$ SELECT nullif(current_setting('app.current_employee_id', true), '')::uuid $$;

CREATE OR REPLACE FUNCTION current_department() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$ SELECT nullif(current_setting('app.current_department', true), '') $$;

-- The employees whose records the caller's department shares: those of the department, and the caller.
CREATE OR REPLACE FUNCTION department_employee_ids() RETURNS uuid[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$
    SELECT array_append(array_agg(id), current_employee_id())
    FROM employees
    WHERE tenant_id = current_tenant_id() AND department = current_department()
$$;

-- The row that an UPDATE is moving out of the caller's scope at this moment (see begin_hand_over). PostgreSQL holds the
-- new row of an UPDATE against the SELECT policy as well, so without this nobody could hand a record to a colleague. Not
-- wrapped in a subselect where policies call it: that would be evaluated once for all rows of a statement.
CREATE OR REPLACE FUNCTION handed_over() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('app.handed_over', true), '')::uuid $$;

-- True in a transaction that moves records out of the working tables or back (crm::care::archive). The rows stay what
-- they are: nothing that follows from making or deleting a record happens to them, and the events say what it is.
CREATE OR REPLACE FUNCTION archiving() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$ SELECT coalesce(current_setting('app.archiving', true) = 'on', false) $$;

-- Whether the caller runs the tenant: what nobody else sees (a private note) is open to it.
CREATE OR REPLACE FUNCTION acts_as_admin() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public
AS $$
    SELECT coalesce(nullif(current_setting('app.request', true), '')::jsonb ->> 'role' IN ('admin', 'superadmin'), false)
$$;

GRANT EXECUTE ON FUNCTION current_tenant_id(), current_user_id(), current_employee_id(), current_department(),
    department_employee_ids(), handed_over(), acts_as_admin(), archiving()
    TO aisha_all, aisha_own, aisha_department, aisha_system, aisha_reporting, aisha_trigger, aisha_search;
