-- ============================================
-- Rollback: 2026-11-21-000003_records
-- Description: Removes contacts, accounts and employees
-- ============================================

DROP TABLE contacts;
DROP TABLE accounts;
DROP TABLE employees;
