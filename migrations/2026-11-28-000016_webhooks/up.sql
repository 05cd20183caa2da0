-- ============================================
-- Migration: 2026-11-28-000016_webhooks
-- Description: Subscriptions to events, what is to be delivered to them, and what became of it
-- Date: 2026-11-28
-- Dependencies: 2026-11-28-000015_relay
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - webhook: a subscription: where to, which events, how fast
-- - webhook_message: the body of an event that at least one subscription asked for, as it is sent
-- - webhook_delivery: one event for one subscription, with its place in the schedule
-- - webhook_attempt: one request, and what the receiver said
-- - webhook_ledger: what was ever taken on for a subscription, counted on its own, so that the books can be checked
-- - webhook_replay: a time window that somebody had delivered again, and how far that is

-- Reachable beyond one tenant (each in the reviewed list of the catalogue test): one process delivers for all tenants,
-- so aisha_system sees every row of the first five. Composite keys keep each delivery with its own tenant's subscription.

CREATE TABLE webhook (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    url varchar(2000) NOT NULL CHECK (url <> ''),
    description varchar(500),
    -- names (contact.created), prefixes (contact.*) or *
    event_types text[] NOT NULL DEFAULT '{}' CHECK (cardinality(event_types) <= 200),
    is_active boolean NOT NULL DEFAULT true,
    -- deliveries are taken on and wait
    paused_at timestamptz,
    -- why is_active is false, where it was not a person: gone (410), failing (for five days)
    disabled_reason text CHECK (disabled_reason IN ('gone', 'failing')),
    disabled_at timestamptz,
    secret_sealed bytea NOT NULL,
    -- signs beside the secret until then
    previous_secret_sealed bytea,
    previous_secret_until timestamptz,
    -- false: one attempt only
    retries boolean NOT NULL DEFAULT true,
    max_concurrency integer NOT NULL DEFAULT 8 CHECK (max_concurrency BETWEEN 1 AND 100),
    -- requests per second; null is no limit
    rate_limit integer CHECK (rate_limit BETWEEN 1 AND 10000),
    metadata jsonb NOT NULL DEFAULT '{}',
    -- since when no attempt has succeeded; null while the last one did
    failing_since timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_by uuid DEFAULT current_user_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CHECK ((previous_secret_sealed IS NULL) = (previous_secret_until IS NULL)),
    CHECK ((disabled_reason IS NULL) = (disabled_at IS NULL))
);
CREATE INDEX webhook_list ON webhook (tenant_id, created_at DESC, id DESC);
-- What a receiver's address and metadata hold (often a token) is for those who may read subscriptions.
SELECT tenant_table('webhook', 'tenant', 'webhook', secret => '{secret_sealed,previous_secret_sealed}',
                    hidden => '{url,metadata}',
                    quiet => '{failing_since,last_success_at,last_failure_at}');

CREATE TABLE webhook_message (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    event_id uuid NOT NULL,
    event text NOT NULL,
    seq bigint NOT NULL,
    record_id uuid,
    -- sent as it stands here, byte for byte, at every attempt: it is what the signatures are over
    body text NOT NULL,
    -- of the body as it is sent: what a sender has in hand is bounded by it, and the body need not be read for that
    body_bytes integer NOT NULL GENERATED ALWAYS AS (octet_length(body)) STORED,
    -- when the event happened
    happened_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX webhook_message_age ON webhook_message (tenant_id, created_at);
SELECT tenant_table('webhook_message', 'tenant', NULL);

CREATE TABLE webhook_delivery (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event text NOT NULL,
    seq bigint NOT NULL,
    -- pending: waits for next_attempt_at; sending: a process has it until lease_until
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'delivered', 'failed', 'cancelled')),
    -- of the schedule; starts again when the delivery is sent anew by hand
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner uuid,
    lease_until timestamptz,
    -- when the schedule began, which is what its end is counted from
    scheduled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- somebody asked for it before anything was sent: how long after the event that is, is no measure of ours
    by_hand boolean NOT NULL DEFAULT false,
    first_attempt_at timestamptz,
    last_attempt_at timestamptz,
    finished_at timestamptz,
    response_status integer,
    error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, webhook_id, event_id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhook (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, event_id) REFERENCES webhook_message (tenant_id, event_id),
    CHECK ((state = 'sending') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)),
    CHECK ((state IN ('delivered', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (tenant_id, webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_leased ON webhook_delivery (tenant_id, webhook_id, lease_until) WHERE state = 'sending';
CREATE INDEX webhook_delivery_list ON webhook_delivery (tenant_id, webhook_id, created_at DESC, id DESC);
CREATE INDEX webhook_delivery_event ON webhook_delivery (tenant_id, event_id);
-- what somebody looks for among many that were delivered; not the others, so that delivering writes no more
CREATE INDEX webhook_delivery_failed ON webhook_delivery (tenant_id, webhook_id, created_at DESC, id DESC)
    WHERE state IN ('failed', 'cancelled');
SELECT tenant_table('webhook_delivery', 'tenant', NULL);

CREATE TABLE webhook_attempt (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    delivery_id uuid NOT NULL,
    -- the first of the delivery is 1; goes on counting when it is sent anew
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    response_status integer,
    -- the beginning of what the receiver answered
    response_excerpt text,
    error text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES webhook_delivery (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_attempt_delivery ON webhook_attempt (tenant_id, delivery_id, number);
SELECT tenant_table('webhook_attempt', 'tenant', NULL);

CREATE TABLE webhook_ledger (
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    -- deliveries taken on since the subscription was made; always those that are there, plus those removed of old age
    taken_on bigint NOT NULL DEFAULT 0,
    removed_delivered bigint NOT NULL DEFAULT 0,
    removed_failed bigint NOT NULL DEFAULT 0,
    removed_cancelled bigint NOT NULL DEFAULT 0,
    -- the pace of rate_limit: the next request may not start before this
    next_slot_at timestamptz,
    PRIMARY KEY (tenant_id, webhook_id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhook (tenant_id, id) ON DELETE CASCADE
);
SELECT tenant_table('webhook_ledger', 'tenant', NULL);

CREATE TABLE webhook_replay (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    webhook_id uuid NOT NULL,
    -- events that happened from the one on and before the other
    window_from timestamptz NOT NULL,
    window_to timestamptz NOT NULL,
    -- as in webhook.event_types; empty is all that the subscription asks for
    events text[] NOT NULL DEFAULT '{}',
    -- states of deliveries, and missing: events that have none
    states text[] NOT NULL,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed')),
    -- finished deliveries that wait again
    requeued bigint NOT NULL DEFAULT 0,
    -- deliveries of events that had none
    added bigint NOT NULL DEFAULT 0,
    error text,
    created_by uuid DEFAULT current_user_id(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- when it last made progress: one whose process died is told by it
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhook (tenant_id, id) ON DELETE CASCADE,
    CHECK (window_from < window_to)
);
CREATE INDEX webhook_replay_list ON webhook_replay (tenant_id, webhook_id, created_at DESC, id DESC);
SELECT tenant_table('webhook_replay', 'tenant', '',
                    quiet => '{status,requeued,added,error,updated_at,completed_at}');

CREATE POLICY system_everywhere ON webhook TO aisha_system USING (true) WITH CHECK (true);
CREATE POLICY system_everywhere ON webhook_message TO aisha_system USING (true) WITH CHECK (true);
CREATE POLICY system_everywhere ON webhook_delivery TO aisha_system USING (true) WITH CHECK (true);
CREATE POLICY system_everywhere ON webhook_attempt TO aisha_system USING (true) WITH CHECK (true);
CREATE POLICY system_everywhere ON webhook_ledger TO aisha_system USING (true) WITH CHECK (true);
