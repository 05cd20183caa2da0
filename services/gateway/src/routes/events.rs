//! `GET /api/events/stream`: what happens in the caller's tenant, as it happens, as far as the caller sees it (Server-Sent
//! Events, WHATWG HTML §9.2).
//!
//! A stream reads the outbox from where it stands, in the order of commits, and shows each event only after the database,
//! asked as the caller, has shown its record. So a stream that was cut off goes on at `Last-Event-ID` and misses nothing, and
//! a record that the caller does not see is not heard of.

use super::docs::ErrorBody;
use crate::{auth::Caller, live::Place, state::Worker};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, HeaderMap, HeaderValue},
    web::{self, Bytes, Data, ServiceConfig},
};
use aisha_auth::{Action, Principal, Scope};
use aisha_crm::event::{self, Rendered};
use aisha_db::{
    SystemReason,
    outbox::{self, OutboxRow, Position},
};
use aisha_http::{ApiResult, record::query, stopping};
use aisha_kernel::{Error, ErrorCode, TenantId, clock};
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{fmt::Write as _, time::Duration};
use time::{UtcOffset, format_description::well_known::Rfc3339};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// Events that are read at a time.
const BATCH: i64 = 200;
/// A comment after this long without an event, so that nothing in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a place in the stream can be taken up again; events are kept for 30 days.
const KEPT: Duration = Duration::from_secs(29 * 24 * 3600);
/// Names or prefixes that a stream can ask for.
const MOST_NAMES: usize = 50;

/// The route.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api/events/stream", web::get().to(stream));
}

/// One event, as webhooks get it too.
#[derive(Serialize)]
struct Shown<'a> {
    id: Uuid,
    seq: i64,
    event: &'a str,
    timestamp: String,
    tenant_id: Option<Uuid>,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a RawValue>,
}

/// Where a stream stands: a place in the order of commits, and when nothing was missing up to there.
#[derive(Debug, Clone, Copy)]
struct Mark {
    position: Position,
    seconds: i64,
}

impl Mark {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::parameter("Last-Event-ID", "is not the id of an event of this stream");
        let (position, seconds) = text.rsplit_once('-').ok_or_else(wrong)?;
        Ok(Self { position: position.parse().map_err(|_| wrong())?, seconds: seconds.parse().map_err(|_| wrong())? })
    }

    fn of(row: &OutboxRow) -> Self {
        Self { position: row.position(), seconds: row.created_at.unix_timestamp() }
    }

    fn now(position: Position) -> Self {
        Self { position, seconds: clock::now().unix_timestamp() }
    }

    fn is_kept(self) -> bool {
        i64::try_from(KEPT.as_secs()).is_ok_and(|kept| clock::now().unix_timestamp() - self.seconds < kept)
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.position, self.seconds)
    }
}

/// What the query asks for.
#[derive(Debug, Default)]
struct Asked {
    tenant: Option<TenantId>,
    names: Vec<String>,
    after: Option<Mark>,
}

impl Asked {
    fn read(request: &HttpRequest) -> Result<Self, Error> {
        let mut asked = Self::default();
        for (name, text) in query::pairs(request.query_string())? {
            match name.as_str() {
                "tenant_id" => asked.tenant = Some(TenantId::parse(&text)?),
                "events" => {
                    asked.names = text.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
                    if asked.names.len() > MOST_NAMES {
                        return Err(Error::parameter("events", format!("may have at most {MOST_NAMES} names")));
                    }
                    if let Some(wrong) = asked.names.iter().find(|name| !may_happen(name)) {
                        return Err(Error::parameter("events", format!("there are no events {wrong}")));
                    }
                }
                // For clients that cannot set the header.
                "last_event_id" => asked.after = Some(Mark::parse(&text)?),
                _ => return Err(Error::parameter(name, "is not a parameter of this stream")),
            }
        }
        if let Some(header) = request.headers().get("last-event-id").and_then(|v| v.to_str().ok()) {
            asked.after = Some(Mark::parse(header)?);
        }
        Ok(asked)
    }

    fn wants(&self, event: &str) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|name| match name.strip_suffix('*') {
                Some(prefix) => event.starts_with(prefix),
                None => event == name,
            })
    }
}

/// Live events of one's tenant.
#[utoipa::path(get, path = "/api/events/stream", operation_id = "events_stream", tag = "events",
    params(
        ("tenant_id" = Option<Uuid>, Query, description = "The tenant, for superadmins"),
        ("events" = Option<String>, Query, description = "Only these, comma-separated: `contact.created,lead.*`"),
        ("last_event_id" = Option<String>, Query, description = "The same as the header, for clients that cannot set one"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was seen: the stream goes on after it")),
    responses((status = 200, description = "Server-Sent Events: `id` to go on from (also alone, at the beginning and every 15 \
            quiet seconds), `event` the name, `data` the event as webhooks get it. `reset` instead of an event says that too much time has passed to go on: read everything anew",
            body = String, content_type = "text/event-stream"),
        (status = 400, description = "A parameter or Last-Event-ID cannot be used", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Another tenant", body = ErrorBody),
        (status = 429, description = "Too many requests, or too many streams of one user", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn stream(request: HttpRequest, worker: Data<Worker>, caller: Caller) -> ApiResult {
    let asked = Asked::read(&request)?;
    let me = caller.identity().in_tenant(asked.tenant)?;
    let place = worker.shared.live.enter(me.tenant(), me.user()).ok_or_else(|| {
        Error::new(ErrorCode::RateLimited, "Too many event streams are open for this user; close one first.")
    })?;
    let end = worker.db.system(&why(&me), async |tx| outbox::end(tx).await).await?;
    let mut first = String::from("retry: 3000\n\n");
    let mark = match asked.after {
        // One that lies ahead is of a database before it was restored.
        Some(mark) if mark.is_kept() && mark.position.transaction_id <= end.transaction_id => mark,
        lost => {
            if lost.is_some() {
                first.push_str("event: reset\ndata: {}\n\n");
            }
            Mark::now(end)
        }
    };
    // A stream that is cut off before its first event has a place to go on from as well.
    write!(first, "id: {mark}\n\n").map_err(Error::internal)?;
    let following = Following {
        worker: worker.clone(),
        headers: request.headers().clone(),
        asked,
        place,
        position: mark.position,
        stopping: stopping(),
        waiting: Some(first),
        quiet_until: Instant::now() + KEEP_ALIVE,
    };
    let body = stream::unfold(following, |mut following| async move {
        let chunk = following.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(chunk)), following))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        // A buffering proxy would hold events back.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(Box::pin(body)))
}

fn why(me: &Principal) -> SystemReason {
    SystemReason { reason: "event stream", tenant: Some(me.tenant()), ..SystemReason::default() }
}

/// A stream at work.
struct Following {
    worker: Data<Worker>,
    headers: HeaderMap,
    asked: Asked,
    place: Place,
    position: Position,
    stopping: watch::Receiver<bool>,
    /// What is to be sent before anything else.
    waiting: Option<String>,
    quiet_until: Instant,
}

impl Following {
    /// The next piece of the stream; `None` ends it. The client then comes again with its credential and its place.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.waiting.take() {
            return Some(first);
        }
        loop {
            self.place.news.borrow_and_update();
            match self.read().await {
                Ok((text, more)) if text.is_empty() && !more => {}
                Ok((text, _)) if text.is_empty() => continue,
                Ok((text, _)) => {
                    self.quiet_until = Instant::now() + KEEP_ALIVE;
                    return Some(text);
                }
                Err(e) => {
                    tracing::debug!(error = %e, "an event stream ends");
                    return None;
                }
            }
            let news = tokio::select! {
                changed = self.place.news.changed() => changed.is_ok(),
                () = sleep_until(self.quiet_until) => true,
                _ = self.stopping.changed() => false,
            };
            if !news {
                return None;
            }
            if Instant::now() >= self.quiet_until {
                // Who may not come in any more does not stay in either.
                self.principal().await.ok()?;
                self.quiet_until = Instant::now() + KEEP_ALIVE;
                // Up to here there was nothing to be seen: it is not to be looked through again.
                return Some(format!(": still here\nid: {}\n\n", Mark::now(self.position)));
            }
        }
    }

    /// Who is following, with the rights of this moment.
    async fn principal(&self) -> Result<Principal, Error> {
        let caller = self.worker.shared.auth.authenticate(&self.worker.db, &self.headers).await?;
        caller.identity().in_tenant(self.asked.tenant)
    }

    /// What is new and may be seen, and whether there may be more.
    async fn read(&mut self) -> Result<(String, bool), Error> {
        let me = self.principal().await?;
        let (tenant, after) = (me.tenant().0, self.position);
        let (rows, more) =
            self.worker.db.system(&why(&me), async |tx| outbox::of_tenant(tx, tenant, after, BATCH).await).await?;
        let Some(last) = rows.last() else { return Ok((String::new(), false)) };
        self.position = last.position();
        let wanted: Vec<OutboxRow> =
            rows.into_iter().filter(|row| self.asked.wants(&row.event) && may_read(&me, row)).collect();
        if wanted.is_empty() {
            return Ok((String::new(), more));
        }
        let (seen, rendered) = self
            .worker
            .db
            .read(&me, async |tx| Ok((event::visible(tx, &wanted).await?, event::render(tx, &wanted).await?)))
            .await?;
        let mut text = String::new();
        for ((row, rendered), seen) in wanted.iter().zip(&rendered).zip(seen) {
            if seen || !needs_its_record(&me, row) {
                write(&mut text, row, rendered)?;
            }
        }
        Ok((text, more))
    }
}

/// What else than records events are about.
const OTHERS: [&str; 5] = ["api_key", "import", "tenant", "user", "webhook"];

/// Whether there are events about what this name or pattern begins with: `contacts.*` would be waited for in vain.
fn may_happen(name: &str) -> bool {
    let entity = name.split_once('.').map_or(name, |(entity, _)| entity);
    name == "*" || name.contains('.') && (event::plural(entity).is_some() || OTHERS.contains(&entity))
}

/// Whether the caller may read records of this kind at all. What is no record is for those who look after accounts.
fn may_read(me: &Principal, row: &OutboxRow) -> bool {
    let resource = match (event::plural(&row.entity), row.entity.as_str()) {
        (Some(plural), _) => plural,
        (None, "webhook") => "webhooks",
        (None, _) => "users",
    };
    me.require(resource, Action::Read).is_ok()
}

/// Whether the record itself decides. It is gone when it was archived: then whoever sees all records of the tenant hears of
/// it, notes aside, which can be private.
fn needs_its_record(me: &Principal, row: &OutboxRow) -> bool {
    let archived = row.event.ends_with(".archived") && row.entity != "note" && me.scope() == Scope::All;
    event::plural(&row.entity).is_some() && !archived
}

fn write(text: &mut String, row: &OutboxRow, rendered: &Rendered) -> Result<(), Error> {
    let shown = Shown {
        id: row.id,
        seq: row.seq,
        event: &row.event,
        timestamp: row.created_at.to_offset(UtcOffset::UTC).format(&Rfc3339).map_err(Error::internal)?,
        tenant_id: row.tenant_id,
        data: &rendered.data,
        previous: rendered.previous.as_deref(),
    };
    let json = serde_json::to_string(&shown).map_err(Error::internal)?;
    writeln!(text, "id: {}\nevent: {}\ndata: {json}\n", Mark::of(row), row.event).map_err(Error::internal)
}
