//! How people sign in to a tenant, in numbers: for the proof of what protects it.

use crate::sql::{acting, col, one};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, RequestContext, Sql};
use aisha_kernel::Error;
use serde::Serialize;

/// What a tenant asks of its users, and what they have.
#[derive(Debug, Clone, Serialize)]
pub struct SignInFacts {
    /// Whether everybody must have a second factor.
    pub totp_required: bool,
    /// Users who can sign in.
    pub active_users: i64,
    /// Those of them with a second factor.
    pub users_with_totp: i64,
    /// Sessions that are open.
    pub open_sessions: i64,
    /// API keys that work.
    pub active_api_keys: i64,
    /// Passwords that are kept as anything but an argon2id hash; none.
    pub passwords_in_another_form: i64,
    /// Secrets of the tenant that are kept, all sealed: second factors and keys of calling providers.
    pub sealed_secrets: i64,
    /// Those of them that are shorter than a nonce and a tag, which nothing sealed can be; none.
    pub unsealed_secrets: i64,
}

/// Counts.
///
/// # Errors
/// 503 when the database is away.
pub async fn sign_in_facts(db: &Db, me: &Principal, cx: &RequestContext) -> Result<SignInFacts, Error> {
    let mut sql = Sql::new(
        "WITH people AS MATERIALIZED (SELECT u.id, u.password_hash, u.is_active, x.secret_sealed, x.confirmed_at \
         FROM users u LEFT JOIN user_totp x ON x.user_id = u.id WHERE u.tenant_id = ",
    );
    sql.bind(Bind::Uuid(Some(me.tenant().0)));
    sql.push(
        "), secrets AS (SELECT secret_sealed AS sealed FROM people WHERE secret_sealed IS NOT NULL \
         UNION ALL SELECT s.sealed FROM tenant t, unnest(ARRAY[t.callfluent_key_sealed, t.thoughtly_key_sealed]) AS s (sealed) \
         WHERE t.id = current_tenant_id() AND s.sealed IS NOT NULL) \
         SELECT coalesce((SELECT settings -> 'require_totp' = 'true' FROM tenant WHERE id = current_tenant_id()), false), \
         (SELECT count(*) FROM people WHERE is_active), \
         (SELECT count(*) FROM people WHERE is_active AND confirmed_at IS NOT NULL), \
         (SELECT count(*) FROM sessions s JOIN people p ON p.id = s.user_id WHERE s.revoked_at IS NULL AND s.expires_at > now()), \
         (SELECT count(*) FROM api_key WHERE tenant_id = current_tenant_id() AND revoked_at IS NULL \
          AND (expires_at IS NULL OR expires_at > now())), \
         (SELECT count(*) FROM people WHERE password_hash IS NOT NULL AND NOT starts_with(password_hash, '$argon2id$')), \
         (SELECT count(*) FROM secrets), (SELECT count(*) FROM secrets WHERE octet_length(sealed) <= 28)",
    );
    let why = acting(me.identity(), "trust", Some(me.tenant()), cx);
    let row = one(db.system(&why, async |tx| tx.rows(sql.clone()).await).await?)?;
    Ok(SignInFacts {
        totp_required: col(&row, 0)?,
        active_users: col(&row, 1)?,
        users_with_totp: col(&row, 2)?,
        open_sessions: col(&row, 3)?,
        active_api_keys: col(&row, 4)?,
        passwords_in_another_form: col(&row, 5)?,
        sealed_secrets: col(&row, 6)?,
        unsealed_secrets: col(&row, 7)?,
    })
}
