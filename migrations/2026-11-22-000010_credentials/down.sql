-- ============================================
-- Rollback: 2026-11-22-000010_credentials
-- Description: Removes invitations, reset links, second factors and the queue of e-mails
-- ============================================

DROP TABLE totp_recovery_codes;
DROP TABLE user_totp;
DROP TABLE password_resets;
DROP TABLE invitations;
DROP TABLE email_outbox;
