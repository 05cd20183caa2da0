//! The multipart form of an import: `file`, `mapping`, `dry_run`, `on_duplicate`, `tenant_id`.

use actix_multipart::Multipart;
use actix_web::{HttpRequest, http::header, web};
use aisha_crm::ops::import::ImportRequest;
use aisha_http::form::{broken, flag, text, to_disk};
use aisha_kernel::{Error, ErrorCode, TenantId};
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use tempfile::NamedTempFile;

/// Largest file.
const MAX_FILE: usize = 200 * 1024 * 1024;

/// The form, with the file on disk.
pub struct ImportForm {
    /// The file; removed when dropped.
    pub file: NamedTempFile,
    /// What the other parts ask for.
    pub request: ImportRequest,
    /// The tenant it names.
    pub tenant_id: Option<TenantId>,
}

/// Reads the form, the file straight to disk.
///
/// # Errors
/// 400 or 422 naming the part, 413 for a file over 200 MB, 415 when it is no form.
pub async fn read(request: &HttpRequest, payload: web::Payload) -> Result<ImportForm, Error> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        let message = "The Content-Type must be multipart/form-data with a part named file.";
        return Err(Error::new(ErrorCode::UnsupportedMediaType, message));
    }
    let mut form = Multipart::new(request.headers(), payload);
    let mut file = None;
    let mut tenant_id = None;
    let mut out = ImportRequest { filename: None, mapping: None, dry_run: false, on_duplicate: Default::default() };
    while let Some(part) = form.next().await {
        let mut part = part.map_err(broken)?;
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" => {
                let shown = part.content_disposition().and_then(|d| d.get_filename());
                out.filename = shown.map(|f| f.chars().filter(|c| !c.is_control()).take(500).collect());
                file = Some(to_disk(&mut part, MAX_FILE).await?);
            }
            "mapping" => {
                let mapping: BTreeMap<String, String> = serde_json::from_str(&text(&mut part, &name).await?)
                    .map_err(|_| Error::invalid("mapping", "must be an object of CSV columns and fields"))?;
                out.mapping = Some(mapping);
            }
            "dry_run" => out.dry_run = flag(&mut part, &name).await?,
            "on_duplicate" => {
                let value = text(&mut part, &name).await?;
                out.on_duplicate = serde_json::from_value(value.trim().into())
                    .map_err(|_| Error::invalid("on_duplicate", "must be skip, update or create"))?;
            }
            "tenant_id" => tenant_id = Some(TenantId::parse(text(&mut part, &name).await?.trim())?),
            _ => return Err(Error::invalid(name, "is not a part of this form")),
        }
    }
    let file = file.ok_or_else(|| Error::invalid("file", "is required"))?;
    Ok(ImportForm { file, request: out, tenant_id })
}
