//! `GET /api/metrics/performance`: how fast each route is.

use super::system_logs::{instant, on_behalf};
use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_db::Db;
use aisha_http::{ApiResult, Caller, ok, record::query};
use aisha_kernel::{Error, clock};
use aisha_operations::performance::{PerformanceQuery, SORTS, SlowLimits, performance_list};
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Mounts the route.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/metrics/performance").route(web::get().to(list)));
}

fn wanted(request: &HttpRequest, slow: SlowLimits) -> Result<PerformanceQuery, Error> {
    let now = clock::now();
    let (mut from, mut to, mut hours) = (None, None, None);
    let mut out = PerformanceQuery {
        from: now,
        to: now,
        service: None,
        method: None,
        sort: SORTS[0].1,
        limit: query::DEFAULT_LIMIT,
        offset: 0,
        slow,
    };
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "from" => from = Some(instant(&name, &text)?),
            "to" => to = Some(instant(&name, &text)?),
            "hours" => hours = Some(query::number("hours", &text, 1, 24 * 366)?),
            "service" => out.service = Some(text.replace('\0', "")),
            "method" => out.method = Some(text.to_uppercase().replace('\0', "")),
            "sort" => {
                let known = SORTS.iter().find(|(sort, _)| *sort == text.trim_start_matches('-'));
                out.sort = known.map(|(_, sql)| *sql).ok_or_else(|| {
                    let names: Vec<&str> = SORTS.iter().map(|(sort, _)| *sort).collect();
                    Error::parameter("sort", format!("must be one of: {}", names.join(", ")))
                })?;
            }
            "limit" => out.limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => out.offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            _ => return Err(Error::parameter(name, "is not a parameter of this list")),
        }
    }
    if from.is_some() && hours.is_some() {
        return Err(Error::parameter("hours", "cannot be combined with from"));
    }
    out.to = to.unwrap_or(now);
    out.from = from.unwrap_or_else(|| out.to.saturating_sub(Duration::hours(hours.unwrap_or(24))));
    if out.from >= out.to {
        return Err(Error::parameter("to", "must be after from"));
    }
    Ok(out)
}

async fn list(caller: Caller, db: web::Data<Db>, slow: web::Data<SlowLimits>, request: HttpRequest) -> ApiResult {
    caller.identity().require("performance", Action::Read)?;
    let query = wanted(&request, **slow)?;
    let (routes, total, all) = performance_list(&db, &on_behalf(&caller, "performance", None), &query).await?;
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    Ok(ok(json!({
        "performance": routes,
        "summary": all,
        "from": text(query.from),
        "to": text(query.to),
        "slow_read_ms": slow.read.as_millis(),
        "slow_request_ms": slow.write.as_millis(),
        "total": total,
        "limit": query.limit,
        "offset": query.offset
    })))
}
