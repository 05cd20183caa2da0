//! The multipart form of an import: `file`, `mapping`, `dry_run`, `on_duplicate`, `tenant_id`.

use actix_multipart::{Field, Multipart};
use actix_web::{HttpRequest, http::header, web};
use aisha_crm::ops::import::ImportRequest;
use aisha_kernel::{Error, ErrorCode, TenantId};
use futures_util::StreamExt as _;
use std::{collections::BTreeMap, io::Write as _};
use tempfile::NamedTempFile;

/// Largest file.
const MAX_FILE: usize = 200 * 1024 * 1024;
/// Largest other part.
const MAX_PART: usize = 256 * 1024;

/// The form, with the file on disk.
pub struct ImportForm {
    /// The file; removed when dropped.
    pub file: NamedTempFile,
    /// What the other parts ask for.
    pub request: ImportRequest,
    /// The tenant it names.
    pub tenant_id: Option<TenantId>,
}

fn broken(e: actix_multipart::MultipartError) -> Error {
    Error::new(ErrorCode::MalformedBody, "The form cannot be read.").because(e.to_string())
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
                file = Some(to_disk(&mut part).await?);
            }
            "mapping" => {
                let mapping: BTreeMap<String, String> = serde_json::from_str(&text(&mut part, &name).await?)
                    .map_err(|_| Error::invalid("mapping", "must be an object of CSV columns and fields"))?;
                out.mapping = Some(mapping);
            }
            "dry_run" => {
                out.dry_run = match text(&mut part, &name).await?.trim() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    _ => return Err(Error::invalid("dry_run", "must be true or false")),
                }
            }
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

async fn text(part: &mut Field, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.next().await {
        bytes.extend_from_slice(&chunk.map_err(broken)?);
        if bytes.len() > MAX_PART {
            return Err(
                Error::new(ErrorCode::PayloadTooLarge, "A part of the form is too large.").field(name, "is too large")
            );
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(name, "must be UTF-8 text"))
}

async fn to_disk(part: &mut Field) -> Result<NamedTempFile, Error> {
    let mut file = NamedTempFile::with_prefix("aisha-import-").map_err(Error::internal)?;
    let mut size = 0usize;
    while let Some(chunk) = part.next().await {
        let chunk = chunk.map_err(broken)?;
        size += chunk.len();
        if size > MAX_FILE {
            let message = "The file is larger than the 200 MB that an import takes: split it.";
            return Err(Error::new(ErrorCode::PayloadTooLarge, message).field("file", "is too large"));
        }
        file = web::block(move || file.write_all(&chunk).map(|()| file))
            .await
            .map_err(Error::internal)?
            .map_err(Error::internal)?;
    }
    Ok(file)
}
