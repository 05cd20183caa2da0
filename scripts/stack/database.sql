-- The login roles and the database, as far as a server's administrator makes them; the rest is in the migrations.
-- Passwords come from the environment. Every statement may run again.
\set QUIET on
\getenv owner_password OWNER_PASSWORD
\getenv login_password LOGIN_PASSWORD
SET client_min_messages = warning;

SELECT format('CREATE ROLE aisha_owner LOGIN CREATEROLE PASSWORD %L', :'owner_password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aisha_owner') \gexec

SELECT format('CREATE ROLE aisha_login LOGIN NOINHERIT PASSWORD %L', :'login_password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aisha_login') \gexec

SELECT 'CREATE DATABASE aisha OWNER aisha_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'aisha') \gexec

\connect aisha
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

SELECT 'ALTER SCHEMA public OWNER TO aisha_owner'
WHERE EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public' AND nspowner <> 'aisha_owner'::regrole) \gexec
