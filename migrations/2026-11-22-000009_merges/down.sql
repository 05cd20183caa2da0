-- ============================================
-- Rollback: 2026-11-22-000009_merges
-- Description: Removes merges and what duplicates are found by; records that were merged stay in the trash
-- ============================================

DROP TABLE record_merge_link, record_merge;
DROP TRIGGER b_leave_merge ON accounts;
DROP TRIGGER b_leave_merge ON contacts;
DROP TRIGGER b_leave_merge ON leads;
DROP INDEX accounts_email, accounts_phone, contacts_email, contacts_phone, contacts_mobile, leads_email, leads_phone,
    bizdev_sources_leads;
ALTER TABLE accounts DROP COLUMN merged_into, DROP COLUMN website_domain, DROP COLUMN name_normalized,
    DROP COLUMN phone_digits;
ALTER TABLE contacts DROP COLUMN merged_into, DROP COLUMN name_normalized, DROP COLUMN phone_digits,
    DROP COLUMN mobile_digits;
ALTER TABLE leads DROP COLUMN merged_into, DROP COLUMN name_normalized, DROP COLUMN phone_digits;
CREATE INDEX accounts_email ON accounts (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX accounts_phone ON accounts (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
CREATE INDEX contacts_email ON contacts (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX contacts_phone ON contacts (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
CREATE INDEX contacts_mobile ON contacts (tenant_id, mobile_e164) WHERE mobile_e164 IS NOT NULL;
CREATE INDEX leads_email ON leads (tenant_id, email) WHERE email IS NOT NULL;
CREATE INDEX leads_phone ON leads (tenant_id, phone_e164) WHERE phone_e164 IS NOT NULL;
SELECT tenant_table('accounts', 'owned', 'account', quiet => '{assigned_to_name}');
SELECT tenant_table('contacts', 'owned', 'contact', quiet => '{account_name,account_industry,assigned_to_name}');
SELECT tenant_table('leads', 'owned', 'lead', quiet => '{assigned_to_name,account_name,account_industry}');
