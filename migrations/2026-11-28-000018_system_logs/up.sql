-- ============================================
-- Migration: 2026-11-28-000018_system_logs
-- Description: What the services report about themselves: log, performance, and which of them are there
-- Date: 2026-11-28
-- Dependencies: 2026-11-21-000001_platform
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables (written by aisha_system only):
-- - system_logs: what services log from WARN on, and what the web application reports of itself. tenant_id is null for what
--   concerns no tenant. It refuses no tenant or user that is not there: a log record must not be lost for what it names
-- - performance_logs: per service, method and route, how many requests took how long, by minute and later by hour. Belongs
--   to no tenant: a route is as fast as it is for everybody
-- - service_instances: the processes of the platform, each with what it uses and what it reaches

-- Indexes Added:
-- - system_logs_tenant, system_logs_time, performance_logs_period

CREATE TABLE system_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid,
    service varchar(63) NOT NULL CHECK (service <> ''),
    level text NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
    -- the part of the service that speaks, or of the web application
    source varchar(200) NOT NULL DEFAULT '',
    message text NOT NULL,
    fields jsonb NOT NULL DEFAULT '{}',
    request_id varchar(64),
    user_id uuid,
    trace_id varchar(64),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX system_logs_tenant ON system_logs (tenant_id, created_at DESC, id DESC);
CREATE INDEX system_logs_time ON system_logs (created_at DESC, id DESC);

CREATE TABLE performance_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    service varchar(63) NOT NULL CHECK (service <> ''),
    method varchar(10) NOT NULL,
    -- the pattern of the route, never a path
    route varchar(300) NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    request_count bigint NOT NULL,
    -- answered with 4xx, and with 5xx
    client_error_count bigint NOT NULL,
    server_error_count bigint NOT NULL,
    total_us bigint NOT NULL,
    max_us bigint NOT NULL,
    -- a histogram: counts[i] requests took at most bucket_us[i] microseconds, and more than the bucket before. Histograms
    -- add up, percentiles do not
    bucket_us bigint[] NOT NULL,
    counts bigint[] NOT NULL,
    CHECK (period_start < period_end),
    CHECK (cardinality(bucket_us) = cardinality(counts))
);
CREATE INDEX performance_logs_period ON performance_logs (period_start);

CREATE TABLE service_instances (
    id uuid PRIMARY KEY,
    service varchar(63) NOT NULL CHECK (service <> ''),
    version varchar(63) NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- CPU time in all, and since the report before
    cpu_ms bigint NOT NULL,
    recent_cpu_ms bigint NOT NULL,
    recent_ms bigint NOT NULL,
    resident_bytes bigint NOT NULL,
    open_fds bigint NOT NULL,
    request_count bigint NOT NULL,
    client_error_count bigint NOT NULL,
    server_error_count bigint NOT NULL,
    log_records_dropped bigint NOT NULL,
    -- what it depends on: ok, or what is wrong
    checks jsonb NOT NULL DEFAULT '{}'
);

SELECT secure_table('system_logs'), secure_table('performance_logs'), secure_table('service_instances');
CREATE POLICY all_select ON system_logs FOR SELECT TO aisha_all USING (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY system_select ON system_logs FOR SELECT TO aisha_system USING (true);
CREATE POLICY system_insert ON system_logs FOR INSERT TO aisha_system WITH CHECK (true);
-- only what is old goes
CREATE POLICY system_delete ON system_logs FOR DELETE TO aisha_system USING (created_at < now() - interval '1 day');
GRANT SELECT ON system_logs TO aisha_all;
GRANT SELECT, INSERT, DELETE ON system_logs TO aisha_system;
CREATE POLICY system_rows ON performance_logs TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON performance_logs TO aisha_system;
CREATE POLICY system_rows ON service_instances TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON service_instances TO aisha_system;
