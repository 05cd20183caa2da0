-- ============================================
-- Migration: 2026-11-22-000007_pipeline
-- Description: Leads, opportunities with their stage history, activities, notes and cash flow; views over them
-- Date: 2026-11-22
-- Dependencies: 2026-11-21-000003_records, 2026-11-21-000004_settings, 2026-11-21-000006_bizdev_sources
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - leads: people who may become customers
-- - opportunities: deals; opportunity_stage_history: the stages each of them went through
-- - activities: calls, meetings, tasks and whatever else is done for a record
-- - notes: what somebody wrote down about a record
-- - cash_flow: money that came in or went out

-- Modified Tables:
-- - bizdev_sources: the account and contact it was promoted to, when, and when it was archived

-- New Views (security_invoker, so that each caller sees its own rows):
-- - v_contact_full, v_opportunity_pipeline, v_activity_calendar, v_account_related_people

-- Indexes Added:
-- - leads_email, leads_phone, leads_status, leads_account
-- - opportunities_account, opportunities_contact, opportunities_lead, opportunities_stage, opportunities_close
-- - opportunity_stage_history_opportunity
-- - activities_due, activities_status
-- - cash_flow_account, cash_flow_opportunity, cash_flow_date
-- - those of tenant_table() and searchable_table()

CREATE TABLE leads (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_name varchar(200) NOT NULL CHECK (first_name <> ''),
    last_name varchar(200) NOT NULL CHECK (last_name <> ''),
    email varchar(320) CHECK (email = lower(email)),
    phone varchar(100),
    phone_e164 text CHECK (phone_e164 ~ '^\+[0-9]{3,15}$'),
    do_not_call boolean NOT NULL DEFAULT false,
    do_not_text boolean NOT NULL DEFAULT false,
    company varchar(200),
    job_title varchar(200),
    account_id uuid,
    account_name text,
    account_industry text,
    source text CHECK (source IN ('website', 'referral', 'cold_call', 'email', 'social_media', 'trade_show',
        'advertising', 'other', 'inbound_call', 'outbound_call', 'webhook')),
    status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'contacted', 'qualified', 'unqualified', 'converted',
        'lost')),
    score integer,
    score_reason varchar(2000),
    ai_action text NOT NULL DEFAULT 'none' CHECK (ai_action IN ('none', 'follow_up', 'nurture', 'qualify',
        'disqualify')),
    last_contacted date,
    next_action varchar(2000),
    activity_metadata jsonb NOT NULL DEFAULT '{}',
    estimated_value numeric(15, 2) CHECK (estimated_value >= 0),
    estimated_value_minor bigint GENERATED ALWAYS AS ((estimated_value * 100)::bigint) STORED,
    converted_at timestamptz,
    converted_contact_id uuid,
    converted_account_id uuid,
    converted_opportunity_id uuid,
    address_1 varchar(500),
    address_2 varchar(500),
    city varchar(200),
    state varchar(200),
    zip varchar(50),
    country varchar(200),
    notes varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        first_name || ' ' || last_name || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '') || ' ' ||
        coalesce(company, '') || ' ' || coalesce(job_title, '') || ' ' || coalesce(city, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (account_id),
    FOREIGN KEY (tenant_id, converted_contact_id) REFERENCES contacts (tenant_id, id)
        ON DELETE SET NULL (converted_contact_id),
    FOREIGN KEY (tenant_id, converted_account_id) REFERENCES accounts (tenant_id, id)
        ON DELETE SET NULL (converted_account_id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to),
    -- the net under guard_conversion()
    CHECK ((status = 'converted') = (converted_at IS NOT NULL))
);
CREATE INDEX leads_email ON leads (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX leads_phone ON leads (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
CREATE INDEX leads_status ON leads (tenant_id, status, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX leads_account ON leads (tenant_id, account_id) WHERE account_id IS NOT NULL;

CREATE TABLE opportunities (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(200) NOT NULL CHECK (name <> ''),
    account_id uuid,
    account_name text,
    account_industry text,
    contact_id uuid,
    contact_name text,
    contact_email text,
    lead_id uuid,
    -- empty means the first open stage; enter_stage() fills it and what follows from it
    stage varchar(63) NOT NULL DEFAULT '',
    outcome text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'won', 'lost')),
    stage_changed_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    lost_reason varchar(2000),
    amount numeric(15, 2) CHECK (amount >= 0),
    amount_minor bigint GENERATED ALWAYS AS ((amount * 100)::bigint) STORED,
    probability integer CHECK (probability BETWEEN 0 AND 100),
    close_date date,
    lead_source text CHECK (lead_source IN ('website', 'referral', 'cold_call', 'email', 'social_media', 'trade_show',
        'advertising', 'other', 'inbound_call', 'outbound_call', 'webhook')),
    type text CHECK (type IN ('new_business', 'existing_business', 'renewal')),
    description varchar(20000),
    next_step varchar(2000),
    competitor varchar(200),
    tags text[] NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    legacy_key text COLLATE "C" GENERATED ALWAYS AS (lower(legacy_id)) STORED,
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        name || ' ' || coalesce(description, '') || ' ' || coalesce(next_step, '') || ' ' ||
        coalesce(competitor, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (account_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE SET NULL (contact_id),
    FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id) ON DELETE SET NULL (lead_id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
ALTER TABLE leads ADD FOREIGN KEY (tenant_id, converted_opportunity_id) REFERENCES opportunities (tenant_id, id)
    ON DELETE SET NULL (converted_opportunity_id);
CREATE INDEX opportunities_legacy ON opportunities (tenant_id, legacy_key) WHERE legacy_key IS NOT NULL;
CREATE INDEX opportunities_account ON opportunities (tenant_id, account_id) WHERE account_id IS NOT NULL;
CREATE INDEX opportunities_contact ON opportunities (tenant_id, contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX opportunities_lead ON opportunities (tenant_id, lead_id) WHERE lead_id IS NOT NULL;
CREATE INDEX opportunities_stage ON opportunities (tenant_id, stage, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX opportunities_close ON opportunities (tenant_id, close_date) WHERE deleted_at IS NULL;

CREATE TABLE opportunity_stage_history (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    opportunity_id uuid NOT NULL,
    from_stage text,
    to_stage text NOT NULL,
    outcome text NOT NULL,
    amount numeric(15, 2),
    probability integer,
    changed_by uuid,
    changed_at timestamptz NOT NULL,
    seconds_in_previous bigint,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, opportunity_id) REFERENCES opportunities (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX opportunity_stage_history_opportunity
    ON opportunity_stage_history (tenant_id, opportunity_id, changed_at);

CREATE TABLE activities (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL DEFAULT 'task' CHECK (type IN ('call', 'email', 'meeting', 'task', 'note', 'demo', 'proposal',
        'scheduled_ai_call', 'scheduled_ai_email')),
    subject varchar(500) NOT NULL CHECK (subject <> ''),
    description varchar(20000),
    status text NOT NULL DEFAULT 'scheduled' CHECK (status IN ('scheduled', 'pending', 'in-progress', 'completed',
        'cancelled', 'failed', 'queued', 'sent')),
    priority text NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    due_date date,
    due_time varchar(5) CHECK (due_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    timezone varchar(64),
    due_at timestamptz,
    completed_at timestamptz,
    duration integer CHECK (duration >= 0),
    related_type text CHECK (related_type IN ('contact', 'account', 'lead', 'opportunity', 'bizdev_source')),
    related_id uuid,
    related_name text,
    related_email text,
    related_assigned_to uuid,
    related_created_by uuid,
    outcome varchar(2000),
    location varchar(500),
    call_sid varchar(200),
    ai_call_config jsonb NOT NULL DEFAULT '{}',
    ai_email_config jsonb NOT NULL DEFAULT '{}',
    execution_log jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(execution_log) = 'array'),
    tags text[] NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    legacy_key text COLLATE "C" GENERATED ALWAYS AS (lower(legacy_id)) STORED,
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        subject || ' ' || coalesce(description, '') || ' ' || coalesce(location, '') || ' ' ||
        coalesce(outcome, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE INDEX activities_due ON activities (tenant_id, due_at) WHERE deleted_at IS NULL;
CREATE INDEX activities_status ON activities (tenant_id, status, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX activities_legacy ON activities (tenant_id, legacy_key) WHERE legacy_key IS NOT NULL;

CREATE TABLE notes (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    title varchar(500),
    content varchar(50000) NOT NULL CHECK (content <> ''),
    type text NOT NULL DEFAULT 'general' CHECK (type IN ('general', 'call_log', 'meeting', 'email', 'follow_up',
        'important')),
    is_private boolean NOT NULL DEFAULT false,
    related_type text CHECK (related_type IN ('contact', 'account', 'lead', 'opportunity', 'bizdev_source',
        'activity')),
    related_id uuid,
    related_name text,
    related_email text,
    related_assigned_to uuid,
    related_created_by uuid,
    tags text[] NOT NULL DEFAULT '{}',
    legacy_id varchar(200),
    legacy_key text COLLATE "C" GENERATED ALWAYS AS (lower(legacy_id)) STORED,
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(coalesce(title, '') || ' ' || left(content, 5000))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE INDEX notes_legacy ON notes (tenant_id, legacy_key) WHERE legacy_key IS NOT NULL;

CREATE TABLE cash_flow (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    transaction_type text NOT NULL CHECK (transaction_type IN ('income', 'expense')),
    category text NOT NULL DEFAULT 'other' CHECK (category IN ('sales_revenue', 'recurring_revenue', 'refund',
        'operating_expense', 'marketing', 'equipment', 'supplies', 'utilities', 'rent', 'payroll',
        'professional_services', 'travel', 'meals', 'other')),
    amount numeric(15, 2) NOT NULL CHECK (amount >= 0),
    amount_minor bigint NOT NULL GENERATED ALWAYS AS ((amount * 100)::bigint) STORED,
    transaction_date date NOT NULL,
    description varchar(2000),
    vendor_client varchar(200),
    account_id uuid,
    account_name text,
    account_industry text,
    opportunity_id uuid,
    is_recurring boolean NOT NULL DEFAULT false,
    recurrence_pattern text CHECK (recurrence_pattern IN ('weekly', 'monthly', 'quarterly', 'annually')),
    status text NOT NULL DEFAULT 'actual' CHECK (status IN ('actual', 'projected', 'pending', 'cancelled')),
    entry_method text NOT NULL DEFAULT 'manual' CHECK (entry_method IN ('manual', 'crm_auto', 'document_extracted',
        'recurring_auto')),
    is_editable boolean NOT NULL DEFAULT true,
    adjustment_reason varchar(2000),
    original_amount numeric(15, 2) CHECK (original_amount >= 0),
    original_amount_minor bigint GENERATED ALWAYS AS ((original_amount * 100)::bigint) STORED,
    tax_category text NOT NULL DEFAULT 'unknown' CHECK (tax_category IN ('deductible', 'non_deductible', 'asset',
        'unknown')),
    payment_method text CHECK (payment_method IN ('cash', 'check', 'credit_card', 'bank_transfer', 'other')),
    invoice_number varchar(200),
    receipt_url varchar(2000),
    notes varchar(20000),
    tags text[] NOT NULL DEFAULT '{}',
    ai_suggested_tags text[] NOT NULL DEFAULT '{}',
    processed_by_ai boolean NOT NULL DEFAULT false,
    legacy_id varchar(200),
    legacy_key text COLLATE "C" GENERATED ALWAYS AS (lower(legacy_id)) STORED,
    is_test_data boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    custom_fields jsonb NOT NULL DEFAULT '{}',
    assigned_to uuid,
    assigned_to_name text,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_by uuid,
    version integer NOT NULL DEFAULT 1,
    import_id uuid,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(
        coalesce(description, '') || ' ' || coalesce(vendor_client, '') || ' ' || coalesce(invoice_number, ''))) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (account_id),
    FOREIGN KEY (tenant_id, opportunity_id) REFERENCES opportunities (tenant_id, id)
        ON DELETE SET NULL (opportunity_id),
    FOREIGN KEY (tenant_id, assigned_to) REFERENCES employees (tenant_id, id) ON DELETE SET NULL (assigned_to)
);
CREATE INDEX cash_flow_account ON cash_flow (tenant_id, account_id) WHERE account_id IS NOT NULL;
CREATE INDEX cash_flow_opportunity ON cash_flow (tenant_id, opportunity_id) WHERE opportunity_id IS NOT NULL;
CREATE INDEX cash_flow_date ON cash_flow (tenant_id, transaction_date) WHERE deleted_at IS NULL;
CREATE INDEX cash_flow_legacy ON cash_flow (tenant_id, legacy_key) WHERE legacy_key IS NOT NULL;

ALTER TABLE bizdev_sources
    ADD COLUMN account_id uuid,
    ADD COLUMN account_name text,
    ADD COLUMN account_industry text,
    ADD COLUMN contact_id uuid,
    ADD COLUMN lead_ids text[] NOT NULL DEFAULT '{}',
    ADD COLUMN promoted_at timestamptz,
    ADD COLUMN archived_at timestamptz,
    ADD FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (account_id),
    ADD FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id) ON DELETE SET NULL (contact_id);
CREATE INDEX bizdev_sources_account ON bizdev_sources (tenant_id, account_id) WHERE account_id IS NOT NULL;
CREATE INDEX bizdev_sources_contact ON bizdev_sources (tenant_id, contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX leads_converted_contact ON leads (tenant_id, converted_contact_id) WHERE converted_contact_id IS NOT NULL;
CREATE INDEX leads_converted_account ON leads (tenant_id, converted_account_id) WHERE converted_account_id IS NOT NULL;
CREATE INDEX leads_converted_opportunity ON leads (tenant_id, converted_opportunity_id)
    WHERE converted_opportunity_id IS NOT NULL;

-- What the trigger functions read.
GRANT SELECT (tenant_id, module_name, settings) ON module_settings TO aisha_trigger;
GRANT SELECT (id, settings) ON tenant TO aisha_trigger;
CREATE POLICY trigger_rows ON tenant FOR SELECT TO aisha_trigger USING (true);
-- a row that is copied from is locked, which takes the right to change it
GRANT SELECT (name, email, assigned_to, created_by) ON accounts TO aisha_trigger;
GRANT SELECT (first_name, last_name, email, assigned_to, created_by) ON contacts TO aisha_trigger;
GRANT SELECT (company_name, email, assigned_to, created_by) ON bizdev_sources TO aisha_trigger;
GRANT SELECT (first_name, last_name, email, assigned_to, created_by) ON leads TO aisha_trigger;
GRANT SELECT (name, contact_email, assigned_to, created_by) ON opportunities TO aisha_trigger;
GRANT SELECT (subject, assigned_to, created_by) ON activities TO aisha_trigger;

SELECT tenant_table('bizdev_sources', 'owned', 'bizdev_source', hidden => '{company_key}',
                    quiet => '{assigned_to_name,account_name,account_industry}');
SELECT copies_account('bizdev_sources');
SELECT tenant_table('leads', 'owned', 'lead', quiet => '{assigned_to_name,account_name,account_industry}');
SELECT searchable_table('leads'), copies_assignee('leads'), copies_account('leads');
SELECT tenant_table('opportunities', 'owned', 'opportunity',
                    quiet => '{assigned_to_name,account_name,account_industry,contact_name,contact_email}');
SELECT searchable_table('opportunities'), copies_assignee('opportunities'), copies_account('opportunities'),
       copies_contact('opportunities');
SELECT tenant_table('activities', 'attached', 'activity', hidden => '{related_assigned_to,related_created_by}',
    quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by}');
SELECT searchable_table('activities'), copies_assignee('activities');
SELECT tenant_table('notes', 'attached', 'note', hidden => '{related_assigned_to,related_created_by}',
    quiet => '{assigned_to_name,related_name,related_email,related_assigned_to,related_created_by}');
SELECT searchable_table('notes'), copies_assignee('notes');
SELECT tenant_table('cash_flow', 'owned', 'cash_flow', quiet => '{assigned_to_name,account_name,account_industry}');
SELECT searchable_table('cash_flow'), copies_assignee('cash_flow'), copies_account('cash_flow');

-- A private note is its author's and the admins'.
CREATE POLICY private_notes ON notes AS RESTRICTIVE TO aisha_all, aisha_own, aisha_department, aisha_search
    USING (NOT is_private OR created_by = (SELECT current_user_id()) OR (SELECT acts_as_admin()));

SELECT relatable_table('accounts', 'account', 'name', 'email'),
       relatable_table('activities', 'activity', 'subject', 'NULL::text'),
       relatable_table('bizdev_sources', 'bizdev_source', 'company_name', 'email'),
       relatable_table('contacts', 'contact', 'first_name || '' '' || last_name', 'email'),
       relatable_table('leads', 'lead', 'first_name || '' '' || last_name', 'email'),
       relatable_table('opportunities', 'opportunity', 'name', 'contact_email');

CREATE TRIGGER b_guard_conversion BEFORE INSERT OR UPDATE OF status, converted_at ON leads FOR EACH ROW
    EXECUTE FUNCTION guard_conversion();
CREATE TRIGGER b_enter_stage_insert BEFORE INSERT ON opportunities FOR EACH ROW EXECUTE FUNCTION enter_stage();
CREATE TRIGGER b_enter_stage_update BEFORE UPDATE OF stage, probability ON opportunities FOR EACH ROW
    WHEN ((NEW.stage, NEW.probability) IS DISTINCT FROM (OLD.stage, OLD.probability)) EXECUTE FUNCTION enter_stage();
CREATE TRIGGER stage_entries AFTER INSERT ON opportunities REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION record_stage_entries();
CREATE TRIGGER stage_changes AFTER UPDATE ON opportunities REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_user <> 'aisha_trigger') EXECUTE FUNCTION record_stage_changes();
CREATE TRIGGER b_schedule_insert BEFORE INSERT ON activities FOR EACH ROW EXECUTE FUNCTION schedule_activity();
CREATE TRIGGER b_schedule_update BEFORE UPDATE OF status, due_date, due_time, timezone ON activities FOR EACH ROW
    EXECUTE FUNCTION schedule_activity();

-- The history is read with its deal: whoever sees the one sees the other.
SELECT secure_table('opportunity_stage_history');
CREATE POLICY tenant_select ON opportunity_stage_history FOR SELECT
    TO aisha_all, aisha_own, aisha_department, aisha_reporting
    USING (tenant_id = (SELECT current_tenant_id()) AND EXISTS (
        SELECT FROM opportunities o WHERE o.tenant_id = opportunity_stage_history.tenant_id AND o.id = opportunity_id));
CREATE POLICY system_rows ON opportunity_stage_history TO aisha_system
    USING (tenant_id = (SELECT current_tenant_id())) WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY trigger_insert ON opportunity_stage_history FOR INSERT TO aisha_trigger WITH CHECK (true);
GRANT SELECT ON opportunity_stage_history TO aisha_all, aisha_own, aisha_department, aisha_reporting;
GRANT SELECT, INSERT, UPDATE, DELETE ON opportunity_stage_history TO aisha_system;
GRANT INSERT ON opportunity_stage_history TO aisha_trigger;

CREATE VIEW v_contact_full WITH (security_invoker) AS
SELECT c.tenant_id, c.id, c.first_name, c.last_name, c.email, c.phone, c.phone_e164, c.mobile, c.job_title,
       c.department, c.status, c.lead_source, c.account_id, a.name AS account_name, a.industry AS account_industry,
       a.website AS account_website, a.type AS account_type, c.assigned_to AS owner_id,
       e.first_name || ' ' || e.last_name AS owner_name, e.email AS owner_email, c.city, c.state, c.country, c.tags,
       c.score, c.last_contacted, c.is_test_data, c.created_by, c.created_at, c.updated_at
FROM contacts c
LEFT JOIN accounts a ON a.tenant_id = c.tenant_id AND a.id = c.account_id AND a.deleted_at IS NULL
LEFT JOIN employees e ON e.tenant_id = c.tenant_id AND e.id = c.assigned_to
WHERE c.deleted_at IS NULL;

CREATE VIEW v_opportunity_pipeline WITH (security_invoker) AS
SELECT tenant_id, stage, outcome, count(*) AS count, coalesce(sum(amount), 0) AS total_value,
       round(avg(amount), 2) AS avg_value, round(avg(probability), 1) AS avg_probability,
       coalesce(round(sum(amount * probability / 100), 2), 0) AS weighted_value
FROM opportunities
WHERE deleted_at IS NULL
GROUP BY tenant_id, stage, outcome;

CREATE VIEW v_activity_calendar WITH (security_invoker) AS
SELECT tenant_id, id, type, subject, description, status,
       due_at < now() AND status IN ('scheduled', 'pending', 'in-progress') AS is_overdue, priority, due_date, due_time,
       timezone, due_at, duration, location, assigned_to, assigned_to_name, related_type, related_id, related_name,
       completed_at, is_test_data, created_by, created_at, updated_at
FROM activities
WHERE deleted_at IS NULL AND due_date IS NOT NULL;

CREATE VIEW v_account_related_people WITH (security_invoker) AS
SELECT tenant_id, account_id, id AS person_id, 'contact' AS person_type, first_name, last_name, email, phone, job_title,
       status, assigned_to, assigned_to_name, created_at
FROM contacts WHERE deleted_at IS NULL AND account_id IS NOT NULL
UNION ALL
SELECT tenant_id, account_id, id, 'lead', first_name, last_name, email, phone, job_title, status, assigned_to,
       assigned_to_name, created_at
FROM leads WHERE deleted_at IS NULL AND account_id IS NOT NULL AND converted_at IS NULL;

GRANT SELECT ON v_contact_full, v_opportunity_pipeline, v_activity_calendar, v_account_related_people
    TO aisha_all, aisha_own, aisha_department, aisha_reporting;
