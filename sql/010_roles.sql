-- ============================================
-- File: 010_roles.sql
-- Description: Database roles, and the owner's short-lived membership in the definer roles
-- Dependencies: none; run by aisha_owner (LOGIN CREATEROLE, owner of the database)
-- ============================================
--
-- The files of this directory are applied in the order of their names, before the migrations, at every run,
-- with check_function_bodies off and in ONE transaction: 010 lends the owner the definer roles, 990 takes them back.
--
-- aisha_login       what services connect with. NOINHERIT: without SET ROLE it can do nothing at all. A database
--                   provider may have made it already (LOGIN NOINHERIT and a password); if it is missing it is made
--                   NOLOGIN and without a password, and the operator runs ALTER ROLE aisha_login LOGIN PASSWORD '…'.
-- aisha_all         every row of the current tenant (administrators, managers with that scope)
-- aisha_department  the rows of the caller's department, and what the caller created
-- aisha_own         the rows assigned to the caller, or created by the caller
-- aisha_system      background work, sign-in: platform tables, and one tenant's rows at a time
-- aisha_reporting   read-only, one tenant at a time; granted to reporting logins, never to aisha_login
-- aisha_trigger     owns the functions that write audit rows, events and denormalised copies
-- aisha_search      owns the functions that search
--
-- The last two are granted to nobody that serves requests. Nothing here needs a superuser (15 and later).

DO $$
DECLARE
    policy_roles text[] := '{aisha_all,aisha_own,aisha_department,aisha_system}';
    name text;
BEGIN
    FOREACH name IN ARRAY policy_roles || '{aisha_reporting,aisha_trigger,aisha_search}' LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;

    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aisha_login') THEN
        CREATE ROLE aisha_login NOLOGIN NOINHERIT;
    END IF;
    IF EXISTS (SELECT FROM pg_roles
               WHERE rolname = 'aisha_login' AND (rolinherit OR rolsuper OR rolbypassrls)) THEN
        RAISE EXCEPTION 'aisha_login must be NOINHERIT, NOSUPERUSER and NOBYPASSRLS';
    END IF;

    FOREACH name IN ARRAY policy_roles LOOP
        IF NOT pg_has_role('aisha_login', name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO aisha_login', name);
        END IF;
    END LOOP;
END
$$;

-- A new function is closed until it is opened to a role by name.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Replacing or handing over a function that belongs to another role takes membership in that role, and that role
-- needs CREATE on the schema. As a lasting membership it would also open that role's policies to the owner.
GRANT aisha_trigger, aisha_search TO CURRENT_USER;
GRANT CREATE ON SCHEMA public TO aisha_trigger, aisha_search;
