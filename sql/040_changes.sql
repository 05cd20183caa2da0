-- ============================================
-- File: 040_changes.sql
-- Description: Audit rows and events of every write, one INSERT each per statement
-- Dependencies: 020_context.sql; tables audit_log and event_outbox (migration audit_events)
-- ============================================
--
-- AFTER triggers per statement with transition tables, so that a bulk write stays a bulk write. They belong to
-- aisha_trigger, the only role that may write events, and see the rows whoever wrote them. Arguments:
--   0  entity, the first half of the event's name ('contact' makes contact.created); '' for audit without events
--   1  the column with the tenant: tenant_id, or id for the table of tenants
--   2  columns that never reach the audit log (secrets, internals)
--   3  columns that never reach events (those of 2, and hidden ones)
--   4  quiet columns: a row in which only these changed leaves no trace
-- 2 to 4 are array literals. audited_table() writes these triggers.
-- OFFSET 0 keeps the planner from repeating to_jsonb(), the dearest step, for every use of its result.

-- What is known of the request, for the columns of audit_log that do not come from the row.
CREATE OR REPLACE FUNCTION request_context() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, public
AS $$ SELECT coalesce(nullif(current_setting('app.request', true), '')::jsonb, '{}') $$;

-- One of 64 lanes; the events of one record always share a lane, and so keep their order.
CREATE OR REPLACE FUNCTION event_shard(tenant uuid, record uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (uuid_hash_extended(record, coalesce(uuid_hash(tenant), 0)) & 63)::smallint $$;

-- AFTER INSERT and AFTER DELETE: the whole row, once, for both. What leaves the table from the trash was reported as
-- deleted when it went there: a purge makes an audit row and no event. A record that is archived is not deleted: the
-- event is .archived, and .restored when it comes back.
CREATE OR REPLACE FUNCTION record_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    request jsonb := request_context();
    actor uuid := current_user_id();
    acting_role text := coalesce(request ->> 'role', current_setting('role'));
    happened timestamptz := clock_timestamp();
    entity_name text := TG_ARGV[0];
    skipped text[] := TG_ARGV[3]::text[];
    inserted boolean := TG_OP = 'INSERT';
    moved boolean := archiving();
BEGIN
    WITH written AS MATERIALIZED (
        SELECT (row_json ->> TG_ARGV[1])::uuid AS tenant, (row_json ->> 'id')::uuid AS record,
               row_json - skipped AS row_data,
               CASE WHEN moved THEN CASE WHEN inserted THEN 'unarchive' ELSE 'archive' END
                    WHEN inserted THEN 'create'
                    WHEN row_json ->> 'deleted_at' IS NULL THEN 'delete'
                    ELSE 'purge' END AS what
        FROM (SELECT to_jsonb(r) AS row_json FROM changed_rows r OFFSET 0) AS source
    ), audited AS (
        INSERT INTO audit_log (tenant_id, action, table_name, record_id, entity, changed_by, changed_at, role,
                               request_id, ip, user_agent, impersonator, reason, old_values, new_values)
        SELECT tenant, what, TG_TABLE_NAME, record,
               nullif(entity_name, ''), actor, happened, acting_role,
               request ->> 'request_id', request ->> 'ip', request ->> 'user_agent',
               (request ->> 'impersonator')::uuid, request ->> 'reason',
               CASE WHEN NOT inserted THEN row_data END, CASE WHEN inserted THEN row_data END
        FROM written
    )
    INSERT INTO event_outbox (tenant_id, event, entity, record_id, shard, data, created_at)
    SELECT tenant, entity_name || CASE what WHEN 'create' THEN '.created' WHEN 'archive' THEN '.archived'
                                            WHEN 'unarchive' THEN '.restored' ELSE '.deleted' END,
           entity_name, record, event_shard(tenant, record), row_data, happened
    FROM written
    WHERE entity_name <> '' AND what <> 'purge';
    RETURN NULL;
END
$$;

-- AFTER UPDATE: only what changed. Setting deleted_at is a delete, clearing it a restore.
-- The plan is kept from the first call, which often changes one row: a nested loop chosen then would be quadratic
-- for the next bulk update.
CREATE OR REPLACE FUNCTION record_updates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET enable_nestloop = off
AS $$
DECLARE
    request jsonb := request_context();
    actor uuid := current_user_id();
    acting_role text := coalesce(request ->> 'role', current_setting('role'));
    happened timestamptz := clock_timestamp();
    entity_name text := TG_ARGV[0];
    unaudited text[] := TG_ARGV[2]::text[];
    skipped text[] := TG_ARGV[3]::text[];
    quiet text[] := TG_ARGV[4]::text[];
BEGIN
    WITH changed AS MATERIALIZED (
        SELECT (after ->> TG_ARGV[1])::uuid AS tenant, (after ->> 'id')::uuid AS record, after, was, became,
               CASE WHEN NOT became ? 'deleted_at' THEN 'update'
                    WHEN became ->> 'deleted_at' IS NULL THEN 'restore'
                    WHEN was ->> 'deleted_at' IS NULL THEN 'delete'
                    ELSE 'update' END AS what
        FROM (SELECT to_jsonb(o) - unaudited AS before, to_jsonb(n) AS after
              FROM old_rows o JOIN new_rows n ON n.id = o.id OFFSET 0) AS pair
        CROSS JOIN LATERAL (
            SELECT jsonb_object_agg(b.key, b.value) AS was, jsonb_object_agg(b.key, after -> b.key) AS became,
                   bool_or(b.key <> ALL (quiet)) AS real
            FROM jsonb_each(before) AS b
            WHERE b.value IS DISTINCT FROM after -> b.key
        ) AS difference
        WHERE real
    ), audited AS (
        INSERT INTO audit_log (tenant_id, action, table_name, record_id, entity, changed_by, changed_at, role,
                               request_id, ip, user_agent, impersonator, reason, old_values, new_values)
        SELECT tenant, what, TG_TABLE_NAME, record, nullif(entity_name, ''), actor, happened, acting_role,
               request ->> 'request_id', request ->> 'ip', request ->> 'user_agent',
               (request ->> 'impersonator')::uuid, request ->> 'reason', was, became
        FROM changed
    )
    INSERT INTO event_outbox (tenant_id, event, entity, record_id, shard, data, previous, created_at)
    SELECT tenant, entity_name || CASE what WHEN 'update' THEN '.updated' WHEN 'delete' THEN '.deleted'
                                            ELSE '.restored' END,
           entity_name, record, event_shard(tenant, record), after - skipped, nullif(was - skipped, '{}'), happened
    FROM changed
    WHERE entity_name <> '';
    RETURN NULL;
END
$$;

GRANT EXECUTE ON FUNCTION request_context(), event_shard(uuid, uuid) TO aisha_trigger;
