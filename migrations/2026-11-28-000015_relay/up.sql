-- ============================================
-- Migration: 2026-11-28-000015_relay
-- Description: How far the events of each shard have been published, and by whom they are being published
-- Date: 2026-11-28
-- Dependencies: 2026-11-21-000002_audit_events, 2026-11-22-000014_care
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None; events say a record's version and, in the trash, its deleted_at from now on, as the API does

-- New Tables:
-- - event_relay: one row per shard of event_outbox, with the last event that the broker has confirmed and the lease of
--   the relay that publishes it
-- - event_relay_member: the relays that live, so that each takes its share of the shards

-- Not bound to one tenant: both concern the events of all tenants; open to aisha_system only.

-- Indexes Changed:
-- - event_outbox_tenant: by transaction, which is the order in which a tenant's events can be followed

-- Columns Changed:
-- - event_outbox.transaction_id: the newest transaction when the event was written, which need not be the event's own

CREATE TABLE event_relay (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    -- the last event that was published: everything up to it in the order (transaction_id, seq) was
    transaction_id bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0,
    -- when that event happened; bounds the partitions that the next look has to touch
    happened_at timestamptz,
    lease_owner uuid,
    lease_until timestamptz
);
INSERT INTO event_relay (shard) SELECT generate_series(0, 63);

SELECT secure_table('event_relay');
CREATE POLICY system_rows ON event_relay TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON event_relay TO aisha_system;

CREATE TABLE event_relay_member (
    id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

SELECT secure_table('event_relay_member');
CREATE POLICY system_rows ON event_relay_member TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON event_relay_member TO aisha_system;

-- A transaction gets its number with its first write, which need not be this one: of two that change a record one after the
-- other, the later may have the lower number. So an event gets the newest number that there is when it is written. It is not
-- lower than that of an earlier change to the record, which had to be committed first; and since the event's own transaction
-- is not newer than it, whoever reads only what is below the oldest running transaction still misses nothing.
ALTER TABLE event_outbox ALTER COLUMN transaction_id
    SET DEFAULT greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint);

DROP INDEX event_outbox_tenant;
CREATE INDEX event_outbox_tenant ON event_outbox (tenant_id, transaction_id, seq);

-- The triggers name the columns that events leave out, and those have changed (audited_table in sql/080_tables.sql).
SELECT audited_table('tenant', 'tenant', secret => '{callfluent_key_sealed,thoughtly_key_sealed}',
                     tenant_column => 'id'),
       audited_table('users', 'user', secret => '{password_hash}', quiet => '{last_login_at,last_seen_at,synced_at}'),
       audited_table('api_key', 'api_key', secret => '{key_hash}', quiet => '{last_used_at}'),
       audited_table('employees', 'employee', quiet => '{user_email,has_crm_access}'),
       audited_table('accounts', 'account', quiet => '{assigned_to_name}'),
       audited_table('contacts', 'contact', quiet => '{account_name,account_industry,assigned_to_name}'),
       audited_table('bizdev_sources', 'bizdev_source', hidden => '{company_key}',
                     quiet => '{assigned_to_name,account_name,account_industry}'),
       audited_table('leads', 'lead', quiet => '{assigned_to_name,account_name,account_industry}'),
       audited_table('opportunities', 'opportunity',
                     quiet => '{assigned_to_name,account_name,account_industry,contact_name,contact_email}'),
       audited_table('activities', 'activity', hidden => '{related_assigned_to,related_created_by}',
                     quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by,due_at}'),
       audited_table('notes', 'note', hidden => '{related_assigned_to,related_created_by}',
                     quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by}'),
       audited_table('cash_flow', 'cash_flow', quiet => '{assigned_to_name,account_name,account_industry}');
