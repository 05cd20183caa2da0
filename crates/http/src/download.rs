//! Answers that are files, made while they are sent.
//!
//! Belongs here: CSV in pages of text. Does not belong here: what is in them (domains), what may be taken out (routes).

use actix_web::{HttpResponse, http::header::CONTENT_DISPOSITION};
use aisha_kernel::Error;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

/// `<name>.csv` from an export that hands out one page after another, until there is none. Only one page at a time is in
/// memory.
///
/// # Errors
/// What the first page fails with: it is read before the answer starts, so that a dead database is a 503 and not half a file.
pub async fn csv_download<E: 'static>(
    name: &str,
    mut export: E,
    next_page: impl AsyncFn(&mut E) -> Result<Option<String>, Error> + 'static,
) -> Result<HttpResponse, Error> {
    let first = next_page(&mut export).await?.unwrap_or_default();
    let rest = stream::try_unfold((export, next_page), |(mut export, next_page)| async move {
        let page = next_page(&mut export).await?;
        Ok::<_, Error>(page.map(|text| (Bytes::from(text), (export, next_page))))
    });
    let start = stream::once(async move { Ok::<_, Error>(Bytes::from(first)) });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")))
        .streaming(Box::pin(start.chain(rest))))
}
