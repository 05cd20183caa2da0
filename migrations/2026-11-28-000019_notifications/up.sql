-- ============================================
-- Migration: 2026-11-28-000019_notifications
-- Description: What people are told: assignments, imports, webhooks that fail
-- Date: 2026-11-28
-- Dependencies: 2026-11-21-000005_imports
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - notifications: one row per person and occasion; each sees its own and nobody else's
-- - notification_setting: the kinds that a person has switched off
-- - notification_event: the events that have been made into notifications, so that a repeated one is not told twice

-- Modified Tables:
-- - import_log: imports become events (import.created, import.updated), without rows and mapping

-- Indexes Added:
-- - notifications_list, notifications_unread, notifications_created, notification_event_handled

-- user_id refers to nobody: a superadmin who works in a tenant is told things there too, and is no user of it.
CREATE TABLE notifications (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    type varchar(63) NOT NULL CHECK (type ~ '^[a-z][a-z0-9_]*$'),
    title varchar(300) NOT NULL CHECK (title <> ''),
    message varchar(2000) NOT NULL DEFAULT '',
    -- where to look, below the web application's address
    link varchar(500),
    related_type varchar(63),
    related_id uuid,
    -- how many occasions it stands for
    count bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    -- what belongs together: a second one of the same group adds to the first
    group_key varchar(200) NOT NULL,
    -- the first event that it tells of, if it tells of events
    event_id uuid,
    is_read boolean NOT NULL DEFAULT false,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT notifications_group_key UNIQUE (tenant_id, user_id, group_key),
    CONSTRAINT notifications_event_id_key UNIQUE (tenant_id, user_id, event_id),
    CHECK (is_read = (read_at IS NOT NULL))
);
CREATE INDEX notifications_list ON notifications (tenant_id, user_id, created_at DESC, id DESC);
CREATE INDEX notifications_unread ON notifications (tenant_id, user_id) WHERE NOT is_read;
CREATE INDEX notifications_created ON notifications (tenant_id, created_at);
SELECT tenant_table('notifications', 'private', NULL);

CREATE TABLE notification_setting (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    user_id uuid NOT NULL,
    type varchar(63) NOT NULL,
    enabled boolean NOT NULL,
    PRIMARY KEY (tenant_id, user_id, type)
);
SELECT tenant_table('notification_setting', 'private', NULL);

CREATE TABLE notification_event (
    tenant_id uuid NOT NULL,
    event_id uuid NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX notification_event_handled ON notification_event (tenant_id, handled_at);
SELECT secure_table('notification_event');
CREATE POLICY system_rows ON notification_event TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
GRANT SELECT, INSERT, DELETE ON notification_event TO aisha_system;

-- progress is no news; rows and cells of a file are nobody else's business
SELECT tenant_table('import_log', 'created', 'import', hidden => '{errors,mapping,undo_result}',
    quiet => '{total_records,success_count,updated_count,skipped_count,error_count,errors,updated_at}');
