//! Promoting a business development source: its company becomes an account, whom to ask for a contact. Activities and notes
//! of the source go to the account.

use crate::{
    Account, BizdevSource, Contact,
    ops::{
        lead_convert::{account_create, account_selected, id_in, object_in},
        transition::{Made, NewTransition, Piece, Transition, assignee, follow, renamed, transition_create},
    },
};
use aisha_auth::{Action, Principal};
use aisha_db::{
    Bind, Sql, TenantTx,
    record::{
        Changes, Record,
        changes::Mode,
        custom,
        field::{Field, employee, flag, json, reference, text},
        read::record_find,
        value::Parsed,
        write::{Expected, record_create, record_lock, record_trash, record_update},
    },
};
use aisha_kernel::{Error, ErrorCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What a request may say.
pub static FIELDS: [Field; 8] = [
    flag().named("delete_source", "Whether the source goes to the trash afterwards."),
    text(200).named("account_name", "Name of the new account; the source's company when absent."),
    reference("accounts")
        .aliases(&["account_id"])
        .named("selected_account_id", "An account that is there already, instead of a new one."),
    json().named("account_custom_fields", "Values of the tenant's own fields for the new account."),
    flag().default("true").named("create_contact", "Whether the person or address of the source becomes a contact."),
    json().named("contact_custom_fields", "Values of the tenant's own fields for the contact."),
    employee()
        .aliases(&["owner_id"])
        .named("assigned_to", "Who looks after what is made, by id or e-mail address; as the source when absent."),
    text(320).named("performed_by", "Accepted for older clients; it is always the caller."),
];

/// A checked request.
#[derive(Debug, Clone)]
pub struct PromoteInput {
    delete_source: bool,
    account_name: Option<String>,
    selected_account: Option<Uuid>,
    account_custom: Value,
    create_contact: bool,
    contact_custom: Value,
    assigned_to: Option<Parsed>,
}

impl PromoteInput {
    /// Reads a request body.
    ///
    /// # Errors
    /// 422 naming the fields that do not fit.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Error> {
        let changes = Changes::read_fields(&FIELDS, body, Mode::Create)?;
        let selected_account = id_in(&changes, "selected_account_id");
        let account_name = changes.text("account_name").map(str::to_owned);
        if account_name.is_some() && selected_account.is_some() {
            return Err(Error::invalid("selected_account_id", "cannot be given together with account_name"));
        }
        Ok(Self {
            delete_source: changes.text("delete_source") == Some("true"),
            account_name,
            selected_account,
            account_custom: object_in(&changes, "account_custom_fields"),
            create_contact: changes.text("create_contact") != Some("false"),
            contact_custom: object_in(&changes, "contact_custom_fields"),
            assigned_to: changes.get("assigned_to").cloned(),
        })
    }

    fn require(&self, me: &Principal) -> Result<(), Error> {
        me.require("bizdevsources", Action::Update)?;
        if self.delete_source {
            me.require("bizdevsources", Action::Delete)?;
        }
        me.require("accounts", if self.selected_account.is_some() { Action::Read } else { Action::Create })?;
        if self.create_contact {
            me.require("contacts", Action::Create)?;
        }
        Ok(())
    }
}

/// What became of a source.
#[derive(Debug, Serialize)]
pub struct Promotion {
    /// The account.
    pub account: Account,
    /// The contact, if the source names one.
    pub contact: Option<Contact>,
    /// The source, promoted; in the trash when that was asked for.
    pub bizdev_source: BizdevSource,
    /// Its id.
    pub bizdev_source_id: Uuid,
    /// The entry in its history.
    pub transition: Transition,
}

/// Promotes a source.
///
/// # Errors
/// 404 when the caller does not see it, 403 without the right to what is to be made, 409 when it is promoted already or there
/// is an account of that name, 412 when somebody changed it first, 422 naming the fields.
pub async fn bizdev_promote(
    tx: &mut TenantTx,
    id: Uuid,
    input: &PromoteInput,
    expected: Expected,
) -> Result<Promotion, Error> {
    if let Err(refused) = input.require(tx.principal()) {
        record_find::<BizdevSource>(tx, id).await?;
        return Err(refused);
    }
    let before: BizdevSource = match record_lock(tx, id, expected).await {
        // Of two that promote at once, the second is told what happened and not that a version is gone.
        Err(e) if e.code == ErrorCode::PreconditionFailed => {
            let source: BizdevSource = record_find(tx, id).await?;
            return Err(if source.promoted_at.is_some() { already() } else { e });
        }
        other => other?,
    };
    if before.promoted_at.is_some() {
        return Err(already());
    }
    let assigned = assignee(tx, input.assigned_to.as_ref(), before.assigned_to).await?;
    let (account, piece) = match input.selected_account {
        Some(id) => {
            let account = account_selected(tx, id).await?;
            let piece = Piece::chosen(&account);
            (account, piece)
        }
        None => {
            let account = account(tx, &before, input, assigned).await?;
            let piece = Piece::made(&account);
            (account, piece)
        }
    };
    let contact = contact(tx, &before, input, account.id, assigned).await?;
    let made = Made {
        status: before.status.clone(),
        snapshot: serde_json::to_value(&before).map_err(Error::internal)?,
        contact: contact.as_ref().map(Piece::made),
        account: Some(piece),
        opportunity: None,
        moved: follow(tx, ("bizdev_source", id), ("account", account.id)).await?,
        deleted_source: input.delete_source,
    };
    let mut sql =
        Sql::new("UPDATE bizdev_sources SET status = 'promoted', promoted_at = clock_timestamp(), account_id = ");
    sql.bind(account.id).push(", contact_id = ").bind(Bind::Uuid(contact.as_ref().map(|c| c.id)));
    let mut source = write_source(tx, id, sql).await?;
    let data = serde_json::to_value(&made).map_err(Error::internal)?;
    let new = NewTransition { entity_id: id, from_type: "bizdev_source", to_type: "account", action: "promote", data };
    let transition = transition_create(tx, new).await?;
    if input.delete_source {
        record_trash::<BizdevSource>(tx, id, Expected::Any).await?;
        source = source_in_trash(tx, id).await?;
    }
    Ok(Promotion { account, contact, bizdev_source: source, bizdev_source_id: id, transition })
}

fn already() -> Error {
    Error::new(ErrorCode::AlreadyPromoted, "This source has been promoted already.")
}

/// Runs the beginning of an UPDATE for one source.
pub(crate) async fn write_source(tx: &mut TenantTx, id: Uuid, mut sql: Sql) -> Result<BizdevSource, Error> {
    sql.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {}", BizdevSource::columns()));
    let rows = tx.rows(sql).await?;
    BizdevSource::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)
}

async fn source_in_trash(tx: &mut TenantTx, id: Uuid) -> Result<BizdevSource, Error> {
    let mut sql = Sql::new(format!("SELECT {} FROM bizdev_sources WHERE tenant_id = ", BizdevSource::columns()));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    let rows = tx.rows(sql).await?;
    BizdevSource::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)
}

/// Values of the tenant's own fields that fit another record type as well, and what the request adds.
async fn carried<R: Record>(tx: &mut TenantTx, source: &BizdevSource, given: &Value) -> Result<Value, Error> {
    let mut all = Map::new();
    if let Value::Object(values) = source.custom_fields.value()
        && !values.is_empty()
    {
        let definitions = custom::definitions(tx, R::DEF.name).await?;
        let fits = |(name, value): (String, Value)| custom::check(&definitions, &Map::from_iter([(name, value)])).ok();
        all.extend(values.into_iter().filter_map(fits).flatten());
    }
    if let Value::Object(given) = given {
        all.extend(given.clone());
    }
    Ok(Value::Object(all))
}

async fn account(
    tx: &mut TenantTx,
    source: &BizdevSource,
    input: &PromoteInput,
    assigned: Option<Uuid>,
) -> Result<Account, Error> {
    let mut metadata = json!({ "promoted_from_bizdev_source_id": source.id });
    if let Value::Object(map) = &mut metadata {
        // What accounts have no field for.
        for (name, value) in [
            ("dba_name", &source.dba_name),
            ("industry_license", &source.industry_license),
            ("license_status", &source.license_status),
        ] {
            if let Some(value) = value {
                map.insert(name.into(), value.as_str().into());
            }
        }
    }
    let body = json!({
        "name": input.account_name.as_ref().unwrap_or(&source.company_name), "industry": source.industry,
        "website": source.website, "phone": source.phone, "email": source.email, "address_1": source.address_line_1,
        "address_2": source.address_line_2, "city": source.city, "state": source.state_province,
        "zip": source.postal_code, "country": source.country, "description": source.notes, "tags": source.tags,
        "assigned_to": assigned, "is_test_data": source.is_test_data, "metadata": metadata,
    });
    let Value::Object(body) = body else { return Err(Error::not_found()) };
    let custom_fields = carried::<Account>(tx, source, &input.account_custom).await?;
    account_create(tx, body, &custom_fields).await
}

/// Given and family name of whom to ask for: `Lovelace, Ada` and `Ada Lovelace` alike, else from the address
/// (`ada.lovelace@…`). What is missing is the company.
pub(crate) fn person(name: Option<&str>, email: Option<&str>, company: &str) -> Option<(String, String)> {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    let name = match name.map(str::trim).filter(|n| !n.is_empty()) {
        Some(name) => match name.split_once(',') {
            Some((last, first)) => format!("{} {}", first.trim(), last.trim()),
            None => name.to_owned(),
        },
        None => {
            let local = email?.split(['@', '+']).next().unwrap_or_default();
            local.split(['.', '_', '-']).filter(|w| !w.is_empty()).map(capital).collect::<Vec<_>>().join(" ")
        }
    };
    let mut words: Vec<&str> = name.split_whitespace().collect();
    let last = if words.len() > 1 { words.pop() } else { None };
    let first = if words.is_empty() { company.to_owned() } else { words.join(" ") };
    Some((first, last.unwrap_or(company).to_owned()))
}

async fn contact(
    tx: &mut TenantTx,
    source: &BizdevSource,
    input: &PromoteInput,
    account_id: Uuid,
    assigned: Option<Uuid>,
) -> Result<Option<Contact>, Error> {
    if !input.create_contact {
        return Ok(None);
    }
    let named = person(source.contact_person.as_deref(), source.email.as_deref(), &source.company_name);
    let Some((first_name, last_name)) = named else { return Ok(None) };
    let lead_source = source.source_type.as_deref().map(|kind| match kind {
        "referral" => "referral",
        "marketing" => "advertising",
        "cold_outreach" => "cold_call",
        _ => "other",
    });
    let body = json!({
        "first_name": first_name, "last_name": last_name, "email": source.email, "phone": source.phone,
        "account_id": account_id, "lead_source": lead_source, "status": "prospect",
        "address_1": source.address_line_1, "address_2": source.address_line_2, "city": source.city,
        "state": source.state_province, "zip": source.postal_code, "country": source.country,
        "assigned_to": assigned, "is_test_data": source.is_test_data,
        "metadata": { "promoted_from_bizdev_source_id": source.id },
        "custom_fields": carried::<Contact>(tx, source, &input.contact_custom).await?,
    });
    let Value::Object(mut body) = body else { return Ok(None) };
    body.retain(|_, v| !v.is_null());
    let made = match Changes::read(Contact::DEF, &body, Mode::Create) {
        Ok(changes) => record_create(tx, &changes).await,
        Err(e) => Err(e),
    };
    let rename = |field: &str| field.strip_prefix("custom_fields").map(|rest| format!("contact_custom_fields{rest}"));
    made.map(Some).map_err(|e| renamed(e, rename))
}

/// Archives a source; one that is archived stays as it is.
///
/// # Errors
/// 404 when the caller does not see it, 403 without the right to change it, 412 when somebody changed it first.
pub async fn bizdev_archive(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<BizdevSource, Error> {
    tx.principal().require("bizdevsources", Action::Update)?;
    let source: BizdevSource = record_lock(tx, id, expected).await?;
    if source.status == "archived" {
        return Ok(source);
    }
    let body = Map::from_iter([("status".to_owned(), Value::from("archived"))]);
    record_update(tx, id, &Changes::read(BizdevSource::DEF, &body, Mode::Update)?, Expected::Any).await
}

#[cfg(test)]
mod tests {
    use super::person;

    #[test]
    fn people_are_found_in_names_and_addresses() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        for (name, email, expected) in [
            (Some("Ada Lovelace"), None, pair("Ada", "Lovelace")),
            (Some(" Ada  King Lovelace "), Some("x@y.test"), pair("Ada King", "Lovelace")),
            (Some("Lovelace, Ada"), None, pair("Ada", "Lovelace")),
            (Some("Ada"), None, pair("Ada", "Engines Ltd")),
            (Some(","), None, pair("Engines Ltd", "Engines Ltd")),
            (None, Some("ada.lovelace+crm@engines.test"), pair("Ada", "Lovelace")),
            (Some("  "), Some("info@engines.test"), pair("Info", "Engines Ltd")),
            (None, None, None),
        ] {
            assert_eq!(person(name, email, "Engines Ltd"), expected, "{name:?} {email:?}");
        }
    }
}
