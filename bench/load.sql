-- The data that is measured against: 50 tenants, a million contacts (200,000 in the largest tenant, the rest even), an
-- account for every ten contacts, and employees. Run once, as the superuser, on an empty migrated database.
--
-- Triggers are off while it runs, so what they would keep right is written here: copies of names, E.164 numbers. Rows
-- arrive in the order of their creation, as they would in life: the tenants' rows lie mixed in the table. Ids follow
-- from a row's number, so that the harness can name people and sessions without asking.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET session_replication_role = replica;
SET maintenance_work_mem = '512MB';
SET max_parallel_maintenance_workers = 2;
SET work_mem = '256MB';
SET synchronous_commit = off;
SELECT setseed(0.42);

BEGIN;

CREATE SCHEMA bench;

-- Kind 1 tenants, 2 users, 3 employees, 4 sessions.
CREATE FUNCTION bench.id(kind integer, tenant integer, n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(kind), 8, '0') || '-' || lpad(to_hex(tenant), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
$$;

-- A version 7 id of that moment.
CREATE FUNCTION bench.id_at(moment timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send((extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- Indexes are made after the rows: that is faster, and leaves them as a rebuild would.
CREATE TABLE bench.index_later AS
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i
WHERE i.indrelid IN ('contacts'::regclass, 'accounts'::regclass)
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid);
DO $$
DECLARE index text;
BEGIN
    FOR index IN SELECT name FROM bench.index_later LOOP EXECUTE 'DROP INDEX ' || index; END LOOP;
END
$$;

INSERT INTO tenant (id, name, slug, status, plan, country, created_at)
SELECT bench.id(1, t, 0), 'Bench Tenant ' || t, 'bench-' || t, 'active', 'pro', 'Germany', now() - interval '3 years'
FROM generate_series(1, 50) AS t;

-- Tenant 1 is the largest. Employee 1 of each tenant is its administrator; employee 2 has few records.
CREATE TEMP TABLE staff AS
SELECT t, n, bench.id(1, t, 0) AS tenant_id, bench.id(2, t, n) AS user_id, bench.id(3, t, n) AS employee_id,
       (ARRAY['Anna','Ben','Clara','David','Elena','Felix','Greta','Hugo','Ida','Jonas','Klara','Leon','Mila','Noah',
              'Olga','Paul','Rosa','Simon','Tara','Viktor'])[1 + n % 20] AS first_name,
       (ARRAY['Adler','Brandt','Conrad','Dietrich','Ebert','Falk','Graf','Hahn','Jansen','Keller','Lang','Maurer',
              'Neumann','Otto','Pohl','Roth','Sauer'])[1 + n % 17] AS last_name,
       (ARRAY['Sales','Marketing','Support','Partners'])[1 + n % 4] AS department
FROM generate_series(1, 50) AS t, generate_series(1, CASE t WHEN 1 THEN 200 ELSE 20 END) AS n;

INSERT INTO users (id, tenant_id, email, first_name, last_name, role, created_at)
SELECT user_id, tenant_id, format('user%s@tenant%s.example', n, t), first_name, last_name,
       CASE n WHEN 1 THEN 'admin' ELSE 'employee' END, now() - interval '3 years'
FROM staff;
INSERT INTO employees (tenant_id, id, user_id, first_name, last_name, email, department, job_title, created_at)
SELECT tenant_id, employee_id, user_id, first_name, last_name, format('user%s@tenant%s.example', n, t), department,
       'Account Executive', now() - interval '3 years'
FROM staff;
INSERT INTO sessions (id, user_id, refresh_hash, expires_at)
SELECT bench.id(4, t, n), user_id, sha256(uuid_send(bench.id(4, t, n))), now() + interval '10 years'
FROM staff WHERE n <= 2;

CREATE TEMP TABLE fresh_accounts AS
SELECT t, bench.id(1, t, 0) AS tenant_id, row_number() OVER (PARTITION BY t) AS k, a.n,
       now() - random() * interval '1000 days' AS created_at,
       3 + floor(random() * CASE t WHEN 1 THEN 198 ELSE 18 END)::integer AS owner,
       (ARRAY['Software','Manufacturing','Logistics','Healthcare','Retail','Finance','Energy','Education'])
           [1 + floor(random() * 8)::integer] AS industry,
       (ARRAY['Nova','Blue','Alpen','Delta','Prime','Terra','Lumen','Vector','Harbor','Cedar','Summit','Orbit'])
           [1 + floor(random() * 12)::integer] AS word
FROM generate_series(1, 100000) AS a (n),
     LATERAL (SELECT CASE WHEN n <= 20000 THEN 1 ELSE 2 + n % 49 END AS t) AS of_tenant;
ALTER TABLE fresh_accounts ADD id uuid, ADD name text;
UPDATE fresh_accounts SET id = bench.id_at(created_at), name = format('%s %s %s', word, industry, n);
INSERT INTO accounts (tenant_id, id, name, type, industry, website, phone, phone_e164, email, annual_revenue,
    employee_count, address_1, city, zip, country, description, tags, assigned_to, assigned_to_name, created_by,
    created_at, updated_at)
SELECT a.tenant_id, a.id, a.name,
       (ARRAY['prospect','customer','partner','vendor'])[1 + a.n % 4], a.industry,
       format('https://www.%s%s.example', lower(a.word), a.n), '+49 30 ' || (1000000 + a.n),
       '+4930' || (1000000 + a.n), format('info@%s%s.example', lower(a.word), a.n), (a.n % 5000) * 10000,
       a.n % 3000, 'Hauptstraße ' || 1 + a.n % 200, (ARRAY['Berlin','Hamburg','Vienna','Zurich'])[1 + a.n % 4],
       (10000 + a.n % 80000)::text, 'Germany', 'Supplier and customer in the field of ' || lower(a.industry) || '.',
       ARRAY['tier-' || a.n % 3], s.employee_id, s.first_name || ' ' || s.last_name, s.user_id, a.created_at, a.created_at
FROM fresh_accounts a JOIN staff s ON s.t = a.t AND s.n = a.owner
ORDER BY a.created_at;
CREATE INDEX ON fresh_accounts (t, k);
ANALYZE fresh_accounts;
ANALYZE staff;

-- One word in 1,000 rows of the largest tenant is "Quarrington" (some 200), one job title in eleven is a manager's.
CREATE TEMP TABLE fresh_contacts AS
SELECT n, t, now() - random() * interval '1000 days' AS created_at, floor(random() * 1000)::integer AS dice,
       CASE WHEN random() < 0.7 THEN 1 + floor(random() * CASE t WHEN 1 THEN 20000 ELSE 1632 END)::bigint END AS account,
       CASE WHEN t > 1 AND random() < 0.005 THEN 2 WHEN t = 1 AND random() < 0.0005 THEN 2
            ELSE 3 + floor(random() * CASE t WHEN 1 THEN 198 ELSE 18 END)::integer END AS owner,
       floor(random() * 40)::integer AS first, floor(random() * 60)::integer AS last, random() < 0.02 AS trashed
FROM (SELECT n, CASE WHEN n <= 200000 THEN 1 ELSE 2 + n % 49 END AS t FROM generate_series(1, 1000000) AS n) AS numbers;
ANALYZE fresh_contacts;

INSERT INTO contacts (tenant_id, id, first_name, last_name, email, phone, phone_e164, mobile, mobile_e164, job_title,
    department, account_id, account_name, account_industry, lead_source, status, address_1, city, state, zip, country,
    notes, tags, score, score_reason, last_contacted, next_action, legacy_id, assigned_to, assigned_to_name, created_by,
    created_at, updated_at, deleted_at, deleted_by)
SELECT s.tenant_id, bench.id_at(c.created_at), names.first_name, names.last_name,
       lower(names.first_name) || '.' || lower(names.last_name) || to_hex(c.n) || '@' ||
           (ARRAY['mail','office','post','corp'])[1 + c.dice % 4] || '.example',
       '+49 30 ' || (2000000 + c.n), '+4930' || (2000000 + c.n),
       CASE WHEN c.dice % 2 = 0 THEN '+49 151 ' || (2000000 + c.n) END,
       CASE WHEN c.dice % 2 = 0 THEN '+49151' || (2000000 + c.n) END,
       (ARRAY['Manager','Engineer','Director','Analyst','Consultant','Buyer','Assistant','Owner','Architect','Accountant',
              'Technician'])[1 + c.dice % 11],
       (ARRAY['Purchasing','IT','Finance','Operations','Sales'])[1 + c.dice % 5], a.id, a.name, a.industry,
       (ARRAY['website','referral','cold_call','email','trade_show','other'])[1 + c.dice % 6],
       (ARRAY['active','active','prospect','customer','inactive'])[1 + c.dice % 5], 'Lindenweg ' || 1 + c.dice % 150,
       (ARRAY['Berlin','Hamburg','Munich','Vienna','Zurich','Cologne','Leipzig','Graz','Basel','Bremen','Dresden','Linz',
              'Bonn','Essen','Mainz','Kiel','Ulm','Trier','Jena','Aachen'])[1 + c.dice % 20],
       'State ' || c.dice % 16, (10000 + c.dice * 80)::text, 'Germany',
       CASE WHEN c.dice % 3 = 0 THEN 'Met at the spring fair; interested in the larger package, decides with the board. '
           'Prefers e-mail, answers within two days.' END,
       ARRAY['segment-' || c.dice % 7, 'wave-' || c.dice % 12], c.dice / 10,
       CASE WHEN c.dice % 4 = 0 THEN 'Opened the last three offers.' END,
       CASE WHEN c.dice % 2 = 0 THEN c.created_at::date END,
       CASE WHEN c.dice % 5 = 0 THEN 'Send the revised offer' END, 'L-' || c.n,
       s.employee_id, s.first_name || ' ' || s.last_name, s.user_id, c.created_at, c.created_at,
       CASE WHEN c.trashed THEN now() - interval '1 hour' END, CASE WHEN c.trashed THEN s.user_id END
FROM fresh_contacts c
JOIN staff s ON s.t = c.t AND s.n = c.owner
LEFT JOIN fresh_accounts a ON a.t = c.t AND a.k = c.account
CROSS JOIN LATERAL (SELECT
    (ARRAY['Emma','Liam','Sofia','Lukas','Marie','Finn','Lena','Elias','Nora','Jakob','Eva','Max','Lara','Tim','Julia',
           'Jan','Sara','Tom','Alina','Nils','Maya','Erik','Zoe','Oscar','Lucia','Marco','Ines','Pedro','Alice','Louis',
           'Chloe','Hugo','Freya','Oliver','Amelia','George','Isla','Arthur','Ruby','Henry'])[1 + c.first] AS first_name,
    CASE WHEN c.dice = 777 THEN 'Quarrington' ELSE
    (ARRAY['Miller','Schmidt','Weber','Fischer','Wagner','Becker','Hoffmann','Koch','Richter','Klein','Wolf','Schroeder',
           'Neumann','Schwarz','Zimmermann','Braun','Krueger','Hofmann','Hartmann','Lange','Werner','Krause','Lehmann',
           'Maier','Koehler','Herrmann','Walter','Huber','Kaiser','Fuchs','Peters','Scholz','Moeller','Weiss','Jung',
           'Vogel','Friedrich','Keller','Frank','Berger','Winkler','Roth','Beck','Lorenz','Baumann','Franke','Albrecht',
           'Schuster','Simon','Ludwig','Boehm','Winter','Kraus','Martin','Schumacher','Kraemer','Vogt','Stein','Jaeger',
           'Otto'])[1 + c.last] END AS last_name) AS names
ORDER BY c.created_at;

DO $$
DECLARE statement text;
BEGIN
    FOR statement IN SELECT definition FROM bench.index_later ORDER BY name LOOP EXECUTE statement; END LOOP;
END
$$;
DROP TABLE bench.index_later;
CREATE TABLE bench.loaded AS SELECT clock_timestamp() AS at;

COMMIT;
VACUUM (ANALYZE) contacts, accounts, employees, users, tenant, sessions;
CHECKPOINT;
