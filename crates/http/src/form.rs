//! Uploads: parts of a multipart form and whole bodies, bounded, files straight to disk.

use actix_multipart::{Field, MultipartError};
use actix_web::web;
use aisha_kernel::{Error, ErrorCode};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::{fmt::Display, io::Write as _, time::Duration};
use tempfile::NamedTempFile;
use tokio::time::timeout;

/// Largest part that is no file.
const MAX_PART: usize = 256 * 1024;
/// How long a client may pause in the middle of a file.
const STALL: Duration = Duration::from_secs(30);

/// 400 for a form that cannot be read.
#[must_use]
pub fn broken(e: MultipartError) -> Error {
    Error::new(ErrorCode::MalformedBody, "The form cannot be read.").because(e.to_string())
}

/// A part as text.
///
/// # Errors
/// 413 for one over 256 KB; 422 when it is not UTF-8.
pub async fn text(part: &mut Field, name: &str) -> Result<String, Error> {
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

/// A part as a truth value; an empty one is false.
///
/// # Errors
/// As [`text`]; 422 for anything else.
pub async fn flag(part: &mut Field, name: &str) -> Result<bool, Error> {
    truth(name, &text(part, name).await?)
}

/// A truth value as forms and queries write it.
///
/// # Errors
/// 422 naming the field.
pub fn truth(name: &str, text: &str) -> Result<bool, Error> {
    match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(Error::invalid(name, "must be true or false")),
    }
}

/// A file part, or a body that is the file, on disk; removed when dropped.
///
/// # Errors
/// 413 naming `file` for one over `limit` bytes; 400 when it does not arrive whole.
pub async fn to_disk<E: Display>(
    chunks: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    limit: usize,
) -> Result<NamedTempFile, Error> {
    let mut file = NamedTempFile::with_prefix("aisha-import-").map_err(Error::internal)?;
    let mut size = 0usize;
    loop {
        let chunk = match timeout(STALL, chunks.next()).await {
            Err(_) => return Err(Error::new(ErrorCode::MalformedBody, "The file did not arrive in time.")),
            Ok(None) => break,
            Ok(Some(Err(e))) => {
                return Err(
                    Error::new(ErrorCode::MalformedBody, "The file did not arrive whole.").because(e.to_string())
                );
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        size += chunk.len();
        if size > limit {
            let limit = limit / (1024 * 1024);
            let message = format!("The file is larger than the {limit} MB that are accepted here: split it.");
            return Err(Error::new(ErrorCode::PayloadTooLarge, message).field("file", "is too large"));
        }
        file = web::block(move || file.write_all(&chunk).map(|()| file))
            .await
            .map_err(Error::internal)?
            .map_err(Error::internal)?;
    }
    Ok(file)
}
