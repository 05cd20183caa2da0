-- ============================================
-- Migration: 2026-11-22-000009_merges
-- Description: Finding duplicate contacts, accounts and leads, merging them, and taking a merge back
-- Date: 2026-11-22
-- Dependencies: 2026-11-21-000003_records, 2026-11-22-000007_pipeline
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - record_merge: one row per merge: who was merged into whom, and what that changed in the survivor
-- - record_merge_link: every link that a merge moved, and where it pointed before

-- Modified Tables:
-- - accounts, contacts, leads: merged_into, the survivor of the merge that moved the record to the trash; and generated
--   columns with what duplicates are found by. They are stored because under row-level security an index serves a
--   condition on a column, never one on a function of it.

-- Indexes Added:
-- - accounts_website, accounts_normalized, accounts_digits, accounts_merged
-- - contacts_normalized, contacts_digits, contacts_mobile_digits, contacts_merged
-- - leads_normalized, leads_digits, leads_merged
-- - bizdev_sources_leads, record_merge_list, record_merge_survivor

-- Indexes Changed (they tell live rows from trashed ones without the table, so that groups are counted in the index):
-- - accounts_email, accounts_phone, contacts_email, contacts_phone, contacts_mobile, leads_email, leads_phone

ALTER TABLE accounts
    ADD COLUMN merged_into uuid,
    ADD COLUMN website_domain text GENERATED ALWAYS AS (website_domain(website)) STORED,
    ADD COLUMN name_normalized text GENERATED ALWAYS AS (company_normalized(name)) STORED,
    ADD COLUMN phone_digits text GENERATED ALWAYS AS (phone_digits(phone, phone_e164)) STORED,
    ADD FOREIGN KEY (tenant_id, merged_into) REFERENCES accounts (tenant_id, id) ON DELETE SET NULL (merged_into),
    ADD CHECK (merged_into IS NULL OR deleted_at IS NOT NULL);
ALTER TABLE contacts
    ADD COLUMN merged_into uuid,
    ADD COLUMN name_normalized text GENERATED ALWAYS AS (person_normalized(first_name, last_name)) STORED,
    ADD COLUMN phone_digits text GENERATED ALWAYS AS (phone_digits(phone, phone_e164)) STORED,
    ADD COLUMN mobile_digits text GENERATED ALWAYS AS (phone_digits(mobile, mobile_e164)) STORED,
    ADD FOREIGN KEY (tenant_id, merged_into) REFERENCES contacts (tenant_id, id) ON DELETE SET NULL (merged_into),
    ADD CHECK (merged_into IS NULL OR deleted_at IS NOT NULL);
ALTER TABLE leads
    ADD COLUMN merged_into uuid,
    ADD COLUMN name_normalized text GENERATED ALWAYS AS (person_normalized(first_name, last_name)) STORED,
    ADD COLUMN phone_digits text GENERATED ALWAYS AS (phone_digits(phone, phone_e164)) STORED,
    ADD FOREIGN KEY (tenant_id, merged_into) REFERENCES leads (tenant_id, id) ON DELETE SET NULL (merged_into),
    ADD CHECK (merged_into IS NULL OR deleted_at IS NOT NULL);

DROP INDEX accounts_email, accounts_phone, contacts_email, contacts_phone, contacts_mobile, leads_email, leads_phone;
CREATE INDEX accounts_email ON accounts (tenant_id, email) INCLUDE (deleted_at) WHERE email IS NOT NULL;
CREATE INDEX accounts_phone ON accounts (tenant_id, phone_e164) INCLUDE (deleted_at) WHERE phone_e164 IS NOT NULL;
CREATE INDEX accounts_digits ON accounts (tenant_id, phone_digits) INCLUDE (deleted_at) WHERE phone_digits IS NOT NULL;
CREATE INDEX accounts_website ON accounts (tenant_id, website_domain) INCLUDE (deleted_at)
    WHERE website_domain IS NOT NULL;
CREATE INDEX accounts_normalized ON accounts (tenant_id, name_normalized) INCLUDE (deleted_at)
    WHERE name_normalized IS NOT NULL;
CREATE INDEX accounts_merged ON accounts (tenant_id, merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX contacts_email ON contacts (tenant_id, email) INCLUDE (deleted_at) WHERE email IS NOT NULL;
CREATE INDEX contacts_phone ON contacts (tenant_id, phone_e164) INCLUDE (deleted_at) WHERE phone_e164 IS NOT NULL;
CREATE INDEX contacts_mobile ON contacts (tenant_id, mobile_e164) INCLUDE (deleted_at, phone_e164)
    WHERE mobile_e164 IS NOT NULL;
CREATE INDEX contacts_digits ON contacts (tenant_id, phone_digits) INCLUDE (deleted_at) WHERE phone_digits IS NOT NULL;
CREATE INDEX contacts_mobile_digits ON contacts (tenant_id, mobile_digits) INCLUDE (deleted_at, phone_digits)
    WHERE mobile_digits IS NOT NULL;
CREATE INDEX contacts_normalized ON contacts (tenant_id, name_normalized) INCLUDE (deleted_at)
    WHERE name_normalized IS NOT NULL;
CREATE INDEX contacts_merged ON contacts (tenant_id, merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX leads_email ON leads (tenant_id, email) INCLUDE (deleted_at) WHERE email IS NOT NULL;
CREATE INDEX leads_phone ON leads (tenant_id, phone_e164) INCLUDE (deleted_at) WHERE phone_e164 IS NOT NULL;
CREATE INDEX leads_digits ON leads (tenant_id, phone_digits) INCLUDE (deleted_at) WHERE phone_digits IS NOT NULL;
CREATE INDEX leads_normalized ON leads (tenant_id, name_normalized) INCLUDE (deleted_at)
    WHERE name_normalized IS NOT NULL;
CREATE INDEX leads_merged ON leads (tenant_id, merged_into) WHERE merged_into IS NOT NULL;
-- lead_ids is a list, which no index serves under row-level security: only the rows that have one are looked at
CREATE INDEX bizdev_sources_leads ON bizdev_sources (tenant_id) WHERE lead_ids <> '{}';

-- The triggers name the generated columns.
SELECT tenant_table('accounts', 'owned', 'account', quiet => '{assigned_to_name}');
SELECT tenant_table('contacts', 'owned', 'contact', quiet => '{account_name,account_industry,assigned_to_name}');
SELECT tenant_table('leads', 'owned', 'lead', quiet => '{assigned_to_name,account_name,account_industry}');

CREATE TRIGGER b_leave_merge BEFORE UPDATE OF deleted_at ON accounts FOR EACH ROW
    WHEN (NEW.deleted_at IS NULL AND OLD.merged_into IS NOT NULL) EXECUTE FUNCTION leave_merge();
CREATE TRIGGER b_leave_merge BEFORE UPDATE OF deleted_at ON contacts FOR EACH ROW
    WHEN (NEW.deleted_at IS NULL AND OLD.merged_into IS NOT NULL) EXECUTE FUNCTION leave_merge();
CREATE TRIGGER b_leave_merge BEFORE UPDATE OF deleted_at ON leads FOR EACH ROW
    WHEN (NEW.deleted_at IS NULL AND OLD.merged_into IS NOT NULL) EXECUTE FUNCTION leave_merge();

CREATE TABLE record_merge (
    tenant_id uuid NOT NULL REFERENCES tenant (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    entity_type text NOT NULL CHECK (entity_type IN ('contact', 'account', 'lead')),
    survivor_id uuid NOT NULL,
    merged_ids uuid[] NOT NULL CHECK (cardinality(merged_ids) BETWEEN 1 AND 20),
    -- column: {before, after}, for the columns of the survivor that the merge changed
    fields jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fields) = 'object'),
    -- [{table, field, entity_type, count}]
    links jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(links) = 'array'),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    undone_at timestamptz,
    undone_by uuid,
    undo_result jsonb,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX record_merge_list ON record_merge (tenant_id, created_at DESC, id DESC);
CREATE INDEX record_merge_survivor ON record_merge (tenant_id, survivor_id);
SELECT tenant_table('record_merge', 'created');

CREATE TABLE record_merge_link (
    tenant_id uuid NOT NULL,
    merge_id uuid NOT NULL,
    table_name varchar(63) NOT NULL,
    field varchar(63) NOT NULL,
    record_id uuid NOT NULL,
    -- where it pointed
    from_id uuid,
    -- the whole list, of a column that holds a list of ids
    previous text[],
    created_by uuid DEFAULT current_user_id(),
    PRIMARY KEY (tenant_id, merge_id, table_name, field, record_id),
    CHECK (from_id IS NULL OR previous IS NULL),
    -- the merge is written last, with the counts of what it moved
    FOREIGN KEY (tenant_id, merge_id) REFERENCES record_merge (tenant_id, id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
SELECT tenant_table('record_merge_link', 'created', NULL);
