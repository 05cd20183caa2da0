//! Many users at once: from and to CSV files, and by the list of a directory.

use super::{
    docs::{DirectoryBody, ErrorBody, Success, UserFileForm},
    query::{TenantQuery, tenant},
    users::ListQuery,
};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_multipart::Multipart;
use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
    web::{self, Data, Payload, Query, ServiceConfig},
};
use aisha_auth::Action;
use aisha_csv::CsvFile;
use aisha_http::{
    ApiResult,
    body::Json,
    csv_download,
    form::{broken, flag, text, to_disk, truth},
    ok,
};
use aisha_identity::user::{self, DirectorySync, Imported, OnDuplicate, Synced, UserExport, UserImport};
use aisha_kernel::{Error, ErrorCode, TenantId};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tempfile::NamedTempFile;
use utoipa::IntoParams;

/// Largest file.
const MAX_FILE: usize = 20 * 1024 * 1024;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/users/bulk-import").route(web::post().to(import)))
        .service(web::resource("/api/users/export").route(web::get().to(export)))
        .service(web::resource("/api/users/sync-from-auth").route(web::post().to(sync)));
}

/// How a file is imported; with a form these may also be its parts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// The tenant of rows that name none; for a superadmin.
    tenant_id: Option<String>,
    /// `true`: check everything, write nothing.
    dry_run: Option<String>,
    /// `skip` (the default) or `update`.
    on_duplicate: Option<String>,
    /// Whether new users get an invitation where their row says nothing about it.
    send_invitation: Option<String>,
}

fn on_duplicate(text: &str) -> Result<OnDuplicate, Error> {
    match text.trim() {
        "" | "skip" => Ok(OnDuplicate::Skip),
        "update" => Ok(OnDuplicate::Update),
        _ => Err(Error::invalid("on_duplicate", "must be skip or update")),
    }
}

impl ImportQuery {
    fn read(&self) -> Result<UserImport, Error> {
        Ok(UserImport {
            filename: None,
            dry_run: self.dry_run.as_deref().map_or(Ok(false), |t| truth("dry_run", t))?,
            on_duplicate: self.on_duplicate.as_deref().map_or(Ok(OnDuplicate::Skip), on_duplicate)?,
            send_invitation: self.send_invitation.as_deref().map(|t| truth("send_invitation", t)).transpose()?,
            tenant: tenant(self.tenant_id.as_deref())?,
        })
    }
}

/// How the file comes.
#[derive(Debug, PartialEq, Eq)]
enum Upload {
    /// As a part of a form.
    Form,
    /// As the body itself.
    Body,
}

/// A form without a boundary is no form: some clients name the type and send the file as it is.
fn upload(headers: &HeaderMap) -> Result<Upload, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_lowercase();
    let (essence, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    match essence.trim() {
        "multipart/form-data" if parameters.contains("boundary=") => Ok(Upload::Form),
        "multipart/form-data" | "text/csv" | "application/csv" | "text/plain" | "application/octet-stream" => {
            Ok(Upload::Body)
        }
        _ => Err(Error::new(
            ErrorCode::UnsupportedMediaType,
            "The Content-Type must be multipart/form-data with a part named file, or text/csv.",
        )),
    }
}

async fn receive(request: &HttpRequest, mut payload: Payload, asked: &mut UserImport) -> Result<NamedTempFile, Error> {
    if upload(request.headers())? == Upload::Body {
        return to_disk(&mut payload, MAX_FILE).await;
    }
    let mut form = Multipart::new(request.headers(), payload);
    let mut file = None;
    while let Some(part) = form.next().await {
        let mut part = part.map_err(broken)?;
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" => {
                let shown = part.content_disposition().and_then(|d| d.get_filename());
                asked.filename = shown.map(|f| f.chars().filter(|c| !c.is_control()).take(500).collect());
                file = Some(to_disk(&mut part, MAX_FILE).await?);
            }
            "dry_run" => asked.dry_run = flag(&mut part, &name).await?,
            "send_invitation" => asked.send_invitation = Some(flag(&mut part, &name).await?),
            "on_duplicate" => asked.on_duplicate = on_duplicate(&text(&mut part, &name).await?)?,
            "tenant_id" => {
                let named = TenantId::parse(text(&mut part, &name).await?.trim())?;
                if asked.tenant.is_some_and(|t| t != named) {
                    return Err(Error::invalid("tenant_id", "differs between query and form"));
                }
                asked.tenant = Some(named);
            }
            _ => return Err(Error::invalid(name, "is not a part of this form")),
        }
    }
    file.ok_or_else(|| Error::invalid("file", "is required"))
}

/// Makes users of the rows of a CSV file: up to 5,000, columns named like the fields of a user, `email` among them. Every
/// row is judged by itself and has its own result; the same file again changes nothing. With `on_duplicate=update` an
/// edited export changes the users that are there.
#[utoipa::path(post, path = "/api/users/bulk-import", operation_id = "users_bulk_import", tag = "users",
    params(ImportQuery),
    request_body(content((UserFileForm = "multipart/form-data"), (String = "text/csv"))),
    responses((status = 200, description = "What became of every row", body = Success<Imported>),
        (status = 400, description = "A form that cannot be read, or a tenant that is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or another tenant", body = ErrorBody),
        (status = 413, description = "More than 20 MB", body = ErrorBody),
        (status = 415, description = "Neither a form nor CSV", body = ErrorBody),
        (status = 422, description = "A file that cannot be used", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn import(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    query: Query<ImportQuery>,
    payload: Payload,
) -> ApiResult {
    // Refused before the file is read.
    caller.identity().require("users", Action::Import)?;
    let mut asked = query.read()?;
    let upload = receive(&request, payload, &mut asked).await?;
    let path = upload.path().to_owned();
    let file = web::block(move || CsvFile::open(&path)).await.map_err(Error::internal)??;
    let cx = request_context(&request)?;
    let shared = &worker.shared;
    let done = user::bulk_import(&worker.db, &shared.credentials, caller.identity(), file, &asked, &cx).await?;
    shared.mail_queued.notify_one();
    Ok(ok(done))
}

/// The users of a list as CSV, whatever its limit. Cells that a spreadsheet would run as a formula begin with an
/// apostrophe; an import takes it away again.
#[utoipa::path(get, path = "/api/users/export", operation_id = "users_export", tag = "users", params(ListQuery),
    responses((status = 200, description = "The file", body = String, content_type = "text/csv"),
        (status = 400, description = "A parameter is not valid", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or another tenant", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn export(request: HttpRequest, worker: Data<Worker>, caller: Caller, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner().read()?;
    let cx = request_context(&request)?;
    let export = user::export_users(&worker.db, caller.identity(), query, &cx).await?;
    Ok(csv_download("users", export, UserExport::next_page).await?)
}

/// Brings the users of a tenant in line with the list of an external directory: up to 5,000 entries, or one user as the
/// body itself. Every entry is judged by itself, by the rules of any change; the same list again changes nothing.
#[utoipa::path(post, path = "/api/users/sync-from-auth", operation_id = "users_sync_from_auth", tag = "users",
    params(TenantQuery), request_body = DirectoryBody,
    responses((status = 200, description = "What became of every entry", body = Success<Synced>),
        (status = 400, description = "Not JSON, or a superadmin names no tenant", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or another tenant", body = ErrorBody),
        (status = 422, description = "Fields are not valid", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn sync(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    query: Query<TenantQuery>,
    body: Json<Value>,
) -> ApiResult {
    caller.identity().require("users", Action::Import)?;
    let list = DirectorySync::parse(&body.0, query.tenant()?)?;
    let cx = request_context(&request)?;
    let shared = &worker.shared;
    let done = user::sync_from_auth(&worker.db, &shared.credentials, caller.identity(), list, &cx).await?;
    shared.mail_queued.notify_one();
    Ok(ok(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_without_a_boundary_is_the_file() {
        let of = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
            upload(&headers).ok()
        };
        assert_eq!(of("multipart/form-data; boundary=x"), Some(Upload::Form));
        assert_eq!(of("multipart/form-data"), Some(Upload::Body));
        assert_eq!(of("text/csv; charset=utf-8"), Some(Upload::Body));
        assert_eq!(of("application/json"), None);
    }
}
