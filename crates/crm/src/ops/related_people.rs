//! The people of an account: its contacts, and the leads that name it.

use crate::Account;
use aisha_auth::Principal;
use aisha_db::{Bind, Db, PgRow, Sql, Timestamp, record::read::record_read};
use aisha_kernel::Error;
use serde::Serialize;
use uuid::Uuid;

/// A person of an account.
#[derive(Debug, Clone, Serialize)]
pub struct RelatedPerson {
    /// Id of the contact or lead.
    pub person_id: Uuid,
    /// `contact` or `lead`.
    pub person_type: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number as typed.
    pub phone: Option<String>,
    /// Position.
    pub job_title: Option<String>,
    /// Status of the contact or lead.
    pub status: String,
    /// The employee who looks after the person.
    pub assigned_to: Option<Uuid>,
    /// That employee's name.
    pub assigned_to_name: Option<String>,
    /// When the record was created.
    pub created_at: Timestamp,
}

/// A page of the people of an account that `me` sees, newest first, and how many there are in all.
///
/// # Errors
/// 404 when there is no account that `me` sees.
pub async fn related_people(
    db: &Db,
    me: &Principal,
    account: Uuid,
    limit: i64,
    offset: i64,
) -> Result<(Vec<RelatedPerson>, i64), Error> {
    record_read::<Account>(db, me, account).await?;
    let mut wanted = Sql::new(" FROM v_account_related_people WHERE tenant_id = ");
    wanted.bind(me.tenant().0).push(" AND account_id = ").bind(account);
    let mut page = Sql::new(
        "SELECT person_id, person_type, first_name, last_name, email, phone, job_title, status, assigned_to, \
         assigned_to_name, created_at",
    );
    page.append(wanted.clone()).push(" ORDER BY created_at DESC, person_id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut count = Sql::new("SELECT count(*)");
    count.append(wanted);
    let mut results = db.fetch(me, vec![page, count]).await?;
    let total = results.pop().and_then(|rows| rows.first()?.get(0).ok()).unwrap_or_default();
    let read = |row: &PgRow| -> Result<RelatedPerson, Box<dyn std::error::Error + Send + Sync>> {
        Ok(RelatedPerson {
            person_id: row.get(0)?,
            person_type: row.get(1)?,
            first_name: row.get(2)?,
            last_name: row.get(3)?,
            email: row.get(4)?,
            phone: row.get(5)?,
            job_title: row.get(6)?,
            status: row.get(7)?,
            assigned_to: row.get(8)?,
            assigned_to_name: row.get(9)?,
            created_at: row.get(10)?,
        })
    };
    let rows = results.pop().unwrap_or_default();
    Ok((rows.iter().map(read).collect::<Result<_, _>>().map_err(Error::internal)?, total))
}
