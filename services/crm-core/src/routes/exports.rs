//! `GET /api/<plural>/export`: the current list as CSV, streamed.

use actix_web::{HttpRequest, Resource, web};
use aisha_auth::Action;
use aisha_crm::ops::export::{Export, export_record};
use aisha_db::{Db, record::Record};
use aisha_http::{ApiResult, Caller, csv_download, record::query};

/// The route of a record type, within its scope.
pub fn resource<R: Record>() -> Resource {
    web::resource("/export").route(web::get().to(export::<R>))
}

async fn export<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let wanted = query::parse(R::DEF, request.query_string(), false)?;
    let me = caller.in_tenant(wanted.tenant_id)?;
    me.require(R::DEF.plural, Action::Export)?;
    export_record::<R>(&db, &me, caller.context(), request.query_string()).await?;
    let export = Export::<R>::new(db.get_ref().clone(), me, wanted.list);
    Ok(csv_download(R::DEF.plural, export, Export::next_page).await?)
}
