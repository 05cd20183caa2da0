//! `GET /api/<plural>/export`: the current list as CSV, streamed.

use actix_web::{HttpRequest, HttpResponse, Resource, http::header, web};
use aisha_auth::Action;
use aisha_crm::ops::export::{Export, export_record};
use aisha_db::{Db, record::Record};
use aisha_http::{ApiResult, Caller, record::query};
use aisha_kernel::Error;
use bytes::Bytes;
use futures_util::stream;

/// The route of a record type, within its scope.
pub fn resource<R: Record>() -> Resource {
    web::resource("/export").route(web::get().to(export::<R>))
}

async fn export<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let wanted = query::parse(R::DEF, request.query_string(), false)?;
    let me = caller.in_tenant(wanted.tenant_id)?;
    me.require(R::DEF.plural, Action::Export)?;
    export_record::<R>(&db, &me, caller.context(), request.query_string()).await?;
    let mut export = Export::<R>::new(db.get_ref().clone(), me, wanted.list);
    // The first page is read before the answer starts, so that a dead database is a 503 and not half a file.
    let first = export.next_page().await?.unwrap_or_default();
    let rest = stream::try_unfold(export, |mut export| async move {
        let page = export.next_page().await?;
        Ok::<_, Error>(page.map(|text| (Bytes::from(text), export)))
    });
    let start = stream::once(async move { Ok::<_, Error>(Bytes::from(first)) });
    let name = format!("attachment; filename=\"{}.csv\"", R::DEF.plural);
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, name))
        .streaming(Box::pin(futures_util::StreamExt::chain(start, rest))))
}
