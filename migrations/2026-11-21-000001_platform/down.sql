-- ============================================
-- Rollback: 2026-11-21-000001_platform
-- Description: Removes tenants, users, sessions, API keys and the extensions; roles belong to the cluster and stay
-- ============================================

DROP TABLE api_key;
DROP TABLE sessions;
DROP TABLE users;
DROP TABLE tenant;
DROP EXTENSION btree_gin;
DROP EXTENSION pg_trgm;
