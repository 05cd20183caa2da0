-- ============================================
-- Migration: 2026-11-22-000010_credentials
-- Description: Invitations, password reset links, second factors and the queue of e-mails about them
-- Date: 2026-11-22
-- Dependencies: 2026-11-21-000001_platform
-- Rollback: down.sql
-- ============================================

-- Breaking Changes:
-- - None

-- New Tables:
-- - email_outbox: e-mails that wait to be sent, written with what they are about
-- - invitations: links by which a new user chooses a password
-- - password_resets: links by which a user chooses a new password
-- - user_totp: the second factor of a user
-- - totp_recovery_codes: what stands in for a lost second factor

-- Not bound to one tenant, as users are not; open to aisha_system only.

-- Indexes Added:
-- - email_outbox_due, email_outbox_user, invitations_user, password_resets_user

CREATE TABLE email_outbox (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('invitation', 'password_reset', 'password_changed', 'totp_enabled',
                                       'totp_disabled', 'totp_reset')),
    -- recipient, subject and text, sealed by the application; gone as soon as nothing is left to be tried
    sealed bytea,
    -- names the key that opens it
    key_id varchar(64) NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    -- the attempt that is being made, and until when nobody else may make one
    lease uuid,
    leased_until timestamptz,
    sent_at timestamptz,
    failed_at timestamptz,
    error varchar(500),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX email_outbox_due ON email_outbox (due_at) WHERE sealed IS NOT NULL;
CREATE INDEX email_outbox_user ON email_outbox (user_id);

SELECT secure_table('email_outbox');
CREATE POLICY system_rows ON email_outbox TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON email_outbox TO aisha_system;

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- where it was sent; another address of the user ends it
    email varchar(320) NOT NULL,
    token_hash bytea NOT NULL,
    email_id uuid,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX invitations_user ON invitations (user_id);

SELECT secure_table('invitations');
CREATE POLICY system_rows ON invitations TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON invitations TO aisha_system;

CREATE TABLE password_resets (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email varchar(320) NOT NULL,
    token_hash bytea NOT NULL,
    -- the administrator who had it sent; null when somebody asked who is not signed in
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX password_resets_user ON password_resets (user_id);

SELECT secure_table('password_resets');
CREATE POLICY system_rows ON password_resets TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON password_resets TO aisha_system;

CREATE TABLE user_totp (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret_sealed bytea NOT NULL,
    -- not asked for until a first code has shown that the device has it
    confirmed_at timestamptz,
    -- the step of the last code that was taken: none is taken twice
    last_step bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    last_failure_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

SELECT secure_table('user_totp');
CREATE POLICY system_rows ON user_totp TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON user_totp TO aisha_system;

CREATE TABLE totp_recovery_codes (
    user_id uuid NOT NULL REFERENCES user_totp (user_id) ON DELETE CASCADE,
    code_hash bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, code_hash)
);

SELECT secure_table('totp_recovery_codes');
CREATE POLICY system_rows ON totp_recovery_codes TO aisha_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON totp_recovery_codes TO aisha_system;
