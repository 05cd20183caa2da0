//! What was asked for and refused. No trigger sees it, since nothing changed.
//!
//! Whoever is refused again and again must not be able to fill the log: within a minute, one row for each user and kind of
//! refusal, and a bounded number of rows from one process altogether. What was left out is counted in the next row.

use super::RequestFacts;
use crate::ApiError;
use actix_web::{
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web::Data,
};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason};
use aisha_kernel::{Error, TenantId, UserId};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a row stands for what follows.
const WINDOW: Duration = Duration::from_secs(60);
/// Most rows of one process within a window.
const MOST: usize = 600;

/// A refusal.
#[derive(Debug, Clone)]
struct Denial {
    user: UserId,
    /// The tenant it acted in, if it got that far.
    tenant: Option<TenantId>,
    method: String,
    /// The route, not the path: what stands in its place is not worth a row of its own.
    route: String,
    /// The code of the answer.
    code: &'static str,
    /// What the answer said.
    message: String,
    request: RequestContext,
}

impl Denial {
    /// The refusal in a response, if it is one of somebody who is signed in.
    fn of<B>(response: &ServiceResponse<B>) -> Option<Self> {
        let error = &response.response().error()?.as_error::<ApiError>()?.0;
        if error.code.status() != 403 {
            return None;
        }
        let request = response.request();
        let facts = RequestFacts::of(request)?;
        let agent = request.headers().get(header::USER_AGENT).and_then(|v| v.to_str().ok());
        Some(Self {
            user: facts.user_id()?,
            tenant: facts.tenant_id(),
            method: request.method().to_string(),
            route: request.match_pattern().unwrap_or_default(),
            code: error.code.as_str(),
            message: error.message.to_string(),
            request: RequestContext {
                request_id: Some(facts.request_id().to_owned()),
                ip: facts.client_ip().map(|ip| ip.to_string()),
                user_agent: agent.map(|a| a.chars().take(500).collect()),
            },
        })
    }
}

/// The middleware: a row in the audit log for whoever is signed in and refused. The app needs `Data<Db>` and
/// `Data<Denials>`; it stands within [`super::RequestLog`].
///
/// # Errors
/// What the handler behind it returns.
pub async fn denied<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let response = next.call(request).await?;
    if let Some(denial) = Denial::of(&response)
        && let (Some(denials), Some(db)) =
            (response.request().app_data::<Data<Denials>>(), response.request().app_data::<Data<Db>>())
        && let Err(e) = denials.record(db, &denial).await
    {
        tracing::warn!(error = %e, cause = ?e.cause, "a refusal is missing in the audit log");
    }
    Ok(response)
}

/// Since when a refusal is standing for others, and how many.
#[derive(Debug)]
struct Standing {
    since: Instant,
    left_out: i64,
}

type Key = (UserId, Option<TenantId>, String, String, &'static str);

/// Decides which refusals are written; one per process.
#[derive(Debug, Default)]
pub struct Denials {
    standing: Mutex<HashMap<Key, Standing>>,
}

impl Denials {
    /// Whether to write this one, and how many were left out since the last.
    fn admit(&self, denial: &Denial, now: Instant) -> Option<i64> {
        let key = (denial.user, denial.tenant, denial.method.clone(), denial.route.clone(), denial.code);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = match standing.get_mut(&key) {
            Some(known) if now.duration_since(known.since) < WINDOW => {
                known.left_out += 1;
                return None;
            }
            Some(known) => known.left_out,
            None => 0,
        };
        if standing.len() >= MOST {
            standing.retain(|_, known| now.duration_since(known.since) < WINDOW);
            if standing.len() >= MOST {
                return None;
            }
        }
        standing.insert(key, Standing { since: now, left_out: 0 });
        Some(left_out)
    }

    /// Writes a row unless one of the same kind was written within the last minute.
    async fn record(&self, db: &Db, denial: &Denial) -> Result<(), Error> {
        let Some(left_out) = self.admit(denial, Instant::now()) else { return Ok(()) };
        let values = serde_json::json!({
            "method": denial.method, "route": denial.route, "code": denial.code, "message": denial.message,
            "left_out": left_out,
        });
        let text = |value: &Option<String>| Bind::Text(value.clone(), "text");
        // A tenant that is not there leaves no row in anybody's log but the platform's.
        let mut sql = Sql::new(
            "INSERT INTO audit_log (tenant_id, action, table_name, changed_by, role, impersonator, request_id, ip, \
             user_agent, new_values) SELECT t.id, 'PERMISSION_DENIED', 'users', u.id, u.role, \
             CASE WHEN u.tenant_id IS NULL AND t.id IS NOT NULL THEN u.id END, ",
        );
        sql.bind(text(&denial.request.request_id)).push(", ").bind(text(&denial.request.ip)).push(", ");
        sql.bind(text(&denial.request.user_agent)).push(", ");
        sql.bind(Bind::Text(Some(values.to_string()), "jsonb"));
        sql.push(" FROM users u LEFT JOIN tenant t ON t.id = coalesce(u.tenant_id, ");
        sql.bind(Bind::Uuid(denial.tenant.map(|t| t.0))).push(") WHERE u.id = ").bind(denial.user.0);
        let why = SystemReason { reason: "permission denied", ..SystemReason::default() };
        db.system(&why, async |tx| tx.rows(sql.clone()).await).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn denial(user: u128, route: &str) -> Denial {
        Denial {
            user: UserId(Uuid::from_u128(user)),
            tenant: None,
            method: "DELETE".into(),
            route: route.into(),
            code: "forbidden",
            message: String::new(),
            request: RequestContext::default(),
        }
    }

    #[test]
    fn one_row_stands_for_a_minute_and_counts_the_rest() {
        let (denials, start) = (Denials::default(), Instant::now());
        assert_eq!(denials.admit(&denial(1, "/a"), start), Some(0));
        for _ in 0..1000 {
            assert_eq!(denials.admit(&denial(1, "/a"), start), None);
        }
        assert_eq!(denials.admit(&denial(1, "/b"), start), Some(0));
        assert_eq!(denials.admit(&denial(2, "/a"), start), Some(0));
        assert_eq!(denials.admit(&denial(1, "/a"), start + WINDOW), Some(1000));
    }

    #[test]
    fn many_users_together_are_bounded_too() {
        let (denials, start) = (Denials::default(), Instant::now());
        let written = (0..100_000).filter(|n| denials.admit(&denial(*n, "/a"), start).is_some()).count();
        assert_eq!(written, MOST);
        assert!(denials.admit(&denial(7, "/c"), start + WINDOW).is_some(), "and a minute later it goes on");
    }
}
