-- The tenant that reports are measured in: 200 employees, 200,000 contacts, 20,000 accounts, 200,000 leads, 100,000
-- opportunities, 400,000 activities, 50,000 transactions. Run as the superuser on a migrated database that does not have
-- the tenant yet.
--
-- Triggers are off while it runs, so what they would keep right is written here. Rows arrive in the order of their
-- creation over two years; one in a hundred is test data, two are in the trash.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET session_replication_role = replica;
SET maintenance_work_mem = '256MB';
SET work_mem = '128MB';
SET synchronous_commit = off;
SELECT setseed(0.27) \g /dev/null

CREATE SCHEMA IF NOT EXISTS bench;

-- Kind 1 tenant (number 51, hexadecimal 33), 2 users, 3 employees, 4 sessions, 5 and up records. User 1 is the
-- administrator, user 2 an employee, user 3 the manager of a department.
CREATE OR REPLACE FUNCTION bench.report_id(kind integer, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(kind), 8, '0') || '-0033-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
$$;

-- Row n of so many: when it was created, whose it is, and dice.
CREATE OR REPLACE FUNCTION bench.report_rows(rows integer)
RETURNS TABLE (n bigint, created_at timestamptz, owner integer, dice integer, test boolean, trashed boolean)
LANGUAGE sql VOLATILE AS $$
    SELECT n, now() - (rows - n) * (interval '730 days' / rows), 2 + floor(random() * 199)::integer,
           floor(random() * 10000)::integer, random() < 0.01, random() < 0.02
    FROM generate_series(1, rows) AS n
$$;

BEGIN;

INSERT INTO tenant (id, name, slug, status, plan, country, settings, manager_scope, created_at)
VALUES (bench.report_id(1, 0), 'Bench Reports', 'bench-reports', 'active', 'pro', 'Germany',
        '{"timezone": "Europe/Berlin", "currency": "EUR"}', 'department', now() - interval '3 years');
INSERT INTO users (id, tenant_id, email, first_name, last_name, role, created_at)
SELECT bench.report_id(2, n), bench.report_id(1, 0), format('user%s@reports.example', n), 'User', n::text,
       CASE n WHEN 1 THEN 'admin' WHEN 3 THEN 'manager' ELSE 'employee' END, now() - interval '3 years'
FROM generate_series(1, 200) AS n;
INSERT INTO sessions (id, user_id, refresh_hash, expires_at)
SELECT bench.report_id(4, n), bench.report_id(2, n), sha256(uuid_send(bench.report_id(4, n))), now() + interval '10 years'
FROM generate_series(1, 3) AS n;
INSERT INTO employees (tenant_id, id, user_id, first_name, last_name, email, department, created_at)
SELECT bench.report_id(1, 0), bench.report_id(3, n), bench.report_id(2, n), 'User', n::text,
       format('user%s@reports.example', n), (ARRAY['Sales','Marketing','Support','Partners'])[1 + n % 4],
       now() - interval '3 years'
FROM generate_series(1, 200) AS n;

INSERT INTO accounts (tenant_id, id, name, industry, is_test_data, assigned_to, assigned_to_name, created_by, created_at,
    updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(5, n), 'Account ' || n,
       (ARRAY['Software','Logistics','Retail','Finance'])[1 + dice % 4], test, bench.report_id(3, owner), 'User ' || owner,
       bench.report_id(2, owner), created_at, created_at, CASE WHEN trashed THEN now() END
FROM bench.report_rows(20000);

INSERT INTO contacts (tenant_id, id, first_name, last_name, email, job_title, account_id, account_name, is_test_data,
    assigned_to, assigned_to_name, created_by, created_at, updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(6, n), 'Contact', n::text, format('contact%s@mail.example', n), 'Buyer',
       bench.report_id(5, 1 + dice * 2), 'Account ' || 1 + dice * 2, test, bench.report_id(3, owner), 'User ' || owner,
       bench.report_id(2, owner), created_at, created_at, CASE WHEN trashed THEN now() END
FROM bench.report_rows(200000);

INSERT INTO leads (tenant_id, id, first_name, last_name, email, company, source, status, estimated_value, converted_at,
    is_test_data, assigned_to, assigned_to_name, created_by, created_at, updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(7, n), 'Lead', n::text, format('lead%s@mail.example', n), 'Company ' || dice,
       (ARRAY['website','referral','cold_call','email','social_media','trade_show','advertising','other',NULL])[1 + dice % 9],
       status, dice * 10 + 0.5, CASE status WHEN 'converted' THEN created_at + interval '9 days' END, test,
       bench.report_id(3, owner), 'User ' || owner, bench.report_id(2, owner), created_at, created_at,
       CASE WHEN trashed THEN now() END
FROM bench.report_rows(200000),
     LATERAL (SELECT (ARRAY['new','new','contacted','contacted','qualified','unqualified','converted','converted',
                            'lost','lost'])[1 + dice / 3 % 10] AS status) AS s;

INSERT INTO opportunities (tenant_id, id, name, stage, outcome, stage_changed_at, closed_at, amount, probability,
    close_date, lead_source, is_test_data, assigned_to, assigned_to_name, created_by, created_at, updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(8, n), 'Deal ' || n, stage, outcome, least(now(), created_at + interval '40 days'),
       CASE WHEN outcome <> 'open' THEN least(now(), created_at + (5 + dice % 90) * interval '1 day') END,
       dice * 7 + 0.25, CASE outcome WHEN 'open' THEN 10 + dice % 80 WHEN 'won' THEN 100 ELSE 0 END,
       (created_at + (30 + dice % 200) * interval '1 day')::date,
       (ARRAY['website','referral','cold_call','email',NULL])[1 + dice % 5], test, bench.report_id(3, owner),
       'User ' || owner, bench.report_id(2, owner), created_at, created_at, CASE WHEN trashed THEN now() END
FROM bench.report_rows(100000),
     LATERAL (SELECT (ARRAY['prospecting','qualification','proposal','negotiation','closed_won','closed_won','closed_lost',
                            'closed_lost'])[1 + dice / 5 % 8] AS stage) AS s,
     LATERAL (SELECT CASE stage WHEN 'closed_won' THEN 'won' WHEN 'closed_lost' THEN 'lost' ELSE 'open' END AS outcome) AS o;

INSERT INTO opportunity_stage_history (tenant_id, id, opportunity_id, from_stage, to_stage, outcome, amount, probability,
    changed_by, changed_at, seconds_in_previous)
SELECT o.tenant_id, gen_random_uuid(), o.id, step.from_stage, step.to_stage,
       CASE step.to_stage WHEN 'closed_won' THEN 'won' ELSE 'open' END, o.amount, o.probability, o.created_by,
       o.created_at + step.days * interval '1 day', CASE WHEN step.from_stage IS NOT NULL THEN 86400 * step.days / 2 END
FROM opportunities o,
     (VALUES (NULL, 'prospecting', 0), ('prospecting', 'qualification', 4), ('qualification', 'proposal', 12)) AS step
         (from_stage, to_stage, days)
WHERE o.tenant_id = bench.report_id(1, 0)
ORDER BY o.created_at;

INSERT INTO activities (tenant_id, id, type, subject, status, priority, due_date, due_at, completed_at, related_type,
    related_id, related_name, is_test_data, assigned_to, assigned_to_name, created_by, created_at, updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(9, n),
       (ARRAY['call','call','email','email','meeting','task','task','note','demo','proposal'])[1 + dice % 10],
       'Activity ' || n, status, 'normal', due::date, due, CASE status WHEN 'completed' THEN least(now(), due) END,
       'contact', bench.report_id(6, 1 + dice * 20), 'Contact ' || 1 + dice * 20, test, bench.report_id(3, owner),
       'User ' || owner, bench.report_id(2, owner), created_at, created_at, CASE WHEN trashed THEN now() END
FROM bench.report_rows(400000),
     LATERAL (SELECT created_at + (dice % 60) * interval '1 day' AS due) AS d,
     LATERAL (SELECT CASE WHEN dice % 100 < 60 THEN 'completed' WHEN dice % 100 < 70 THEN 'cancelled'
                          WHEN dice % 100 < 73 OR due > now() THEN 'scheduled' ELSE 'completed' END AS status) AS s;

INSERT INTO cash_flow (tenant_id, id, transaction_type, category, amount, transaction_date, description, is_test_data,
    assigned_to, assigned_to_name, created_by, created_at, updated_at, deleted_at)
SELECT bench.report_id(1, 0), bench.report_id(10, n), CASE WHEN dice % 3 = 0 THEN 'income' ELSE 'expense' END,
       (ARRAY['sales_revenue','rent','payroll','travel','marketing','other'])[1 + dice % 6], dice * 3 + 0.75,
       created_at::date, 'Transaction ' || n, test, bench.report_id(3, owner), 'User ' || owner,
       bench.report_id(2, owner), created_at, created_at, CASE WHEN trashed THEN now() END
FROM bench.report_rows(50000);

COMMIT;
VACUUM (ANALYZE) accounts, contacts, leads, opportunities, opportunity_stage_history, activities, cash_flow, employees,
    users, tenant;
