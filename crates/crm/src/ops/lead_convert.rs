//! Converting a lead: it becomes a contact of the same id, with an account and an opportunity if wanted. Everything that
//! belongs to the lead follows; the lead stays, marked as converted.

use crate::{
    Account, Contact, Lead, Opportunity,
    ops::transition::{Made, NewTransition, Piece, Transition, assignee, follow, renamed, transition_create},
};
use aisha_auth::{Action, Principal};
use aisha_db::{
    Bind, Sql, TenantTx,
    record::{
        Changes, Record,
        changes::Mode,
        custom,
        field::{Field, Kind, date, employee, flag, json, money, reference, text},
        read::record_find,
        value::Parsed,
        write::{Expected, record_create, record_lock},
    },
};
use aisha_kernel::{Error, ErrorCode, clock};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What a request may say.
pub static FIELDS: [Field; 12] = [
    flag().named("create_account", "Make a new account; also when only account_name is given."),
    text(200).named("account_name", "Name of the new account; the lead's company when absent."),
    reference("accounts")
        .aliases(&["account_id"])
        .named("selected_account_id", "The account that the contact belongs to, instead of a new one."),
    json().named("account_custom_fields", "Values of the tenant's own fields for the new account."),
    flag().named("create_opportunity", "Make an opportunity; also when only other opportunity fields are given."),
    text(200).named("opportunity_name", "Its name; the lead's company or name when absent."),
    money().named("opportunity_amount", "What it is worth; the lead's estimated value when absent."),
    text(63).named("opportunity_stage", "Its stage; the tenant's first open one when absent."),
    date().named("opportunity_close_date", "When it is expected to be decided; in 30 days when absent."),
    json().named("opportunity_custom_fields", "Values of the tenant's own fields for the opportunity."),
    employee()
        .aliases(&["owner_id"])
        .named("assigned_to", "Who looks after what is made, by id or e-mail address; as the lead when absent."),
    text(320).named("performed_by", "Accepted for older clients; it is always the caller."),
];

/// How far ahead an opportunity is expected to be decided when nobody says.
const CLOSES_IN: time::Duration = time::Duration::days(30);

/// A checked request.
#[derive(Debug, Clone)]
pub struct ConvertInput {
    create_account: bool,
    account_name: Option<String>,
    selected_account: Option<Uuid>,
    account_custom: Value,
    create_opportunity: bool,
    opportunity: Map<String, Value>,
    assigned_to: Option<Parsed>,
}

/// The id in a reference field.
pub(crate) fn id_in(changes: &Changes, column: &str) -> Option<Uuid> {
    match changes.get(column) {
        Some(Parsed::Value(Bind::Uuid(id))) => *id,
        _ => None,
    }
}

/// The object in a JSON field.
pub(crate) fn object_in(changes: &Changes, column: &str) -> Value {
    changes.text(column).and_then(|s| serde_json::from_str(s).ok()).unwrap_or_else(|| json!({}))
}

impl ConvertInput {
    /// Reads a request body.
    ///
    /// # Errors
    /// 422 naming the fields that do not fit.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Error> {
        let changes = Changes::read_fields(&FIELDS, body, Mode::Create)?;
        let said = |flag: &str| changes.text(flag).map(|t| t == "true");
        let selected_account = id_in(&changes, "selected_account_id");
        let account_name = changes.text("account_name").map(str::to_owned);
        let create_account = said("create_account").unwrap_or(account_name.is_some() && selected_account.is_none());
        if create_account && selected_account.is_some() {
            return Err(Error::invalid("selected_account_id", "cannot be given together with create_account"));
        }
        let mut opportunity = Map::new();
        for name in ["name", "amount", "stage", "close_date"] {
            if let Some(text) = changes.text(&format!("opportunity_{name}")) {
                opportunity.insert(name.into(), text.into());
            }
        }
        let create_opportunity = said("create_opportunity").unwrap_or(!opportunity.is_empty());
        opportunity.insert(custom::FIELD.into(), object_in(&changes, "opportunity_custom_fields"));
        Ok(Self {
            create_account,
            account_name,
            selected_account,
            account_custom: object_in(&changes, "account_custom_fields"),
            create_opportunity,
            opportunity,
            assigned_to: changes.get("assigned_to").cloned(),
        })
    }

    fn require(&self, me: &Principal) -> Result<(), Error> {
        me.require("leads", Action::Update)?;
        me.require("contacts", Action::Create)?;
        if self.create_account {
            me.require("accounts", Action::Create)?;
        }
        if self.selected_account.is_some() {
            me.require("accounts", Action::Read)?;
        }
        if self.create_opportunity {
            me.require("opportunities", Action::Create)?;
        }
        Ok(())
    }
}

/// What became of a lead.
#[derive(Debug, Serialize)]
pub struct Conversion {
    /// The contact; it has the lead's id.
    pub contact: Contact,
    /// Its account, if it has one that the caller sees.
    pub account: Option<Account>,
    /// The opportunity, if one was made.
    pub opportunity: Option<Opportunity>,
    /// The lead, converted.
    pub lead: Lead,
    /// The entry in its history.
    pub transition: Transition,
}

/// Converts a lead.
///
/// # Errors
/// 404 when the caller does not see it, 403 without the right to what is to be made, 409 when it is converted already, when
/// there is an account of that name or a contact of that id, 412 when somebody changed it first, 422 naming the fields.
pub async fn lead_convert(
    tx: &mut TenantTx,
    id: Uuid,
    input: &ConvertInput,
    expected: Expected,
) -> Result<Conversion, Error> {
    input.require(tx.principal())?;
    let before: Lead = match record_lock(tx, id, expected).await {
        // Of two that convert at once, the second is told what happened and not that a version is gone.
        Err(e) if e.code == ErrorCode::PreconditionFailed => {
            let lead: Lead = record_find(tx, id).await?;
            return Err(if lead.converted_at.is_some() { already() } else { e });
        }
        other => other?,
    };
    if before.converted_at.is_some() {
        return Err(already());
    }
    require_free_id(tx, id).await?;
    let assigned = assignee(tx, input.assigned_to.as_ref(), before.assigned_to).await?;
    let account = account(tx, &before, input, assigned).await?;
    let account_id = account.as_ref().map(|(a, _)| a.id).or(before.account_id);
    let contact = contact(tx, &before, input, account_id, assigned).await?;
    // An account that the lead had already, if the caller sees it.
    let account = match (account, account_id) {
        (None, Some(id)) => match record_find::<Account>(tx, id).await {
            Ok(a) => Some((Piece::chosen(&a), a)),
            Err(e) if e.code == ErrorCode::NotFound => None,
            Err(e) => return Err(e),
        },
        (made, _) => made.map(|(a, created)| (if created { Piece::made(&a) } else { Piece::chosen(&a) }, a)),
    };
    let opportunity = match input.create_opportunity {
        true => Some(opportunity(tx, &before, input, account.as_ref().map(|(_, a)| a.id), assigned).await?),
        false => None,
    };
    let mut moved = follow(tx, ("lead", id), ("contact", id)).await?;
    (moved.opportunities_contact, moved.opportunities_account) =
        link_opportunities(tx, id, account_id, opportunity.as_ref().map(|o| o.id)).await?;

    let (piece, account) = account.unzip();
    let made = Made {
        status: before.status.clone(),
        snapshot: serde_json::to_value(&before).map_err(Error::internal)?,
        contact: Some(Piece::made(&contact)),
        account: piece,
        opportunity: opportunity.as_ref().map(Piece::made),
        moved,
        deleted_source: false,
    };
    let lead = mark(tx, id, account_id, opportunity.as_ref().map(|o| o.id)).await?;
    let data = serde_json::to_value(&made).map_err(Error::internal)?;
    let new = NewTransition { entity_id: id, from_type: "lead", to_type: "contact", action: "convert", data };
    let transition = transition_create(tx, new).await?;
    Ok(Conversion { contact, account, opportunity, lead, transition })
}

fn already() -> Error {
    Error::new(ErrorCode::AlreadyConverted, "This lead has been converted already.")
}

/// The contact takes the lead's id: nothing else may have it.
async fn require_free_id(tx: &mut TenantTx, id: Uuid) -> Result<(), Error> {
    let mut sql = Sql::new("SELECT deleted_at IS NOT NULL FROM contacts WHERE tenant_id = ");
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    let rows = tx.beyond_scope(vec![sql]).await?.pop().unwrap_or_default();
    match rows.first().map(|r| r.get(0)).transpose().map_err(Error::internal)? {
        None => Ok(()),
        Some(true) => Err(Error::conflict("A contact with this lead's id is in the trash: remove it there first.")),
        Some(false) => Err(Error::conflict("There is a contact with this lead's id already.")),
    }
}

/// A live account of this name that the caller sees.
async fn account_named(tx: &mut TenantTx, name: &str) -> Result<Option<Uuid>, Error> {
    let mut sql = Sql::new("SELECT id FROM accounts WHERE deleted_at IS NULL AND tenant_id = ");
    sql.bind(tx.principal().tenant().0).push(" AND name_key = lower(").bind(Bind::text(name)).push(")");
    tx.rows(sql).await?.first().map(|r| r.get(0)).transpose().map_err(Error::internal)
}

/// An account for a lead or source: makes it, unless its name is taken.
pub(crate) async fn account_create(
    tx: &mut TenantTx,
    mut body: Map<String, Value>,
    custom_fields: &Value,
) -> Result<Account, Error> {
    body.retain(|_, v| !v.is_null());
    body.insert(custom::FIELD.into(), custom_fields.clone());
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    if let Some(id) = account_named(tx, name).await? {
        return Err(Error::conflict("There is an account of this name already.")
            .field("account_name", format!("is the name of the account {id}; use it with selected_account_id")));
    }
    let rename = |field: &str| match field {
        "name" => Some("account_name".to_owned()),
        _ => field.strip_prefix("custom_fields").map(|rest| format!("account_custom_fields{rest}")),
    };
    let made = match Changes::read(Account::DEF, &body, Mode::Create) {
        Ok(changes) => record_create(tx, &changes).await,
        Err(e) => Err(e),
    };
    made.map_err(|e| renamed(e, rename))
}

/// An account that the request names.
pub(crate) async fn account_selected(tx: &mut TenantTx, id: Uuid) -> Result<Account, Error> {
    match record_find(tx, id).await {
        Err(e) if e.code == ErrorCode::NotFound => {
            Err(Error::invalid("selected_account_id", "refers to nothing that you may use"))
        }
        other => other,
    }
}

/// The account that the request asks for, and whether it was made.
async fn account(
    tx: &mut TenantTx,
    lead: &Lead,
    input: &ConvertInput,
    assigned: Option<Uuid>,
) -> Result<Option<(Account, bool)>, Error> {
    if let Some(id) = input.selected_account {
        return Ok(Some((account_selected(tx, id).await?, false)));
    }
    if !input.create_account {
        return Ok(None);
    }
    let name = input.account_name.as_ref().or(lead.company.as_ref());
    let name = name.ok_or_else(|| Error::invalid("account_name", "is required: the lead names no company"))?;
    let body = json!({
        "name": name, "phone": lead.phone, "address_1": lead.address_1, "address_2": lead.address_2, "city": lead.city,
        "state": lead.state, "zip": lead.zip, "country": lead.country, "is_test_data": lead.is_test_data,
        "assigned_to": assigned, "metadata": { "converted_from_lead_id": lead.id },
    });
    let Value::Object(body) = body else { return Ok(None) };
    Ok(Some((account_create(tx, body, &input.account_custom).await?, true)))
}

/// Values of the tenant's own fields that contacts have as well.
async fn carried(tx: &mut TenantTx, lead: &Lead) -> Result<Map<String, Value>, Error> {
    let Value::Object(values) = lead.custom_fields.value() else { return Ok(Map::new()) };
    if values.is_empty() {
        return Ok(values);
    }
    let definitions = custom::definitions(tx, Contact::DEF.name).await?;
    // Where the two definitions differ, a value may not fit; it stays with the lead.
    let fits = |(name, value): (String, Value)| custom::check(&definitions, &Map::from_iter([(name, value)])).ok();
    Ok(values.into_iter().filter_map(fits).flatten().collect())
}

/// Columns that leads and contacts have under one name, with those that come along.
fn shared() -> impl Iterator<Item = &'static str> {
    const APART: [&str; 5] = ["status", "account_id", "assigned_to", "metadata", custom::FIELD];
    let both = |f: &&'static Field| !f.read_only && Lead::DEF.all_fields().any(|l| l.name == f.name);
    Contact::DEF.all_fields().filter(both).filter(|f| !APART.contains(&f.name)).flat_map(|f| {
        let companion = match f.kind {
            Kind::Phone(column) => Some(column),
            _ => None,
        };
        std::iter::once(f.name).chain(companion)
    })
}

/// The contact. Copied in the database: what the lead holds is taken over as it is.
async fn contact(
    tx: &mut TenantTx,
    lead: &Lead,
    input: &ConvertInput,
    account_id: Option<Uuid>,
    assigned: Option<Uuid>,
) -> Result<Contact, Error> {
    let custom_fields = Value::Object(carried(tx, lead).await?);
    let mut metadata = json!({ "converted_from_lead_id": lead.id });
    if let Value::Object(map) = &mut metadata {
        // Contacts have no fields for these, and nobody may be called because of a conversion.
        for (name, set) in [("do_not_call", lead.do_not_call), ("do_not_text", lead.do_not_text)] {
            if set {
                map.insert(name.into(), true.into());
            }
        }
    }
    let assigned = if input.assigned_to.is_some() { assigned } else { lead.assigned_to };
    let columns: Vec<&str> = shared().collect();
    let jsonb = |v: &Value| Bind::Text(Some(v.to_string()), "jsonb");
    let mut sql = Sql::new(format!(
        "INSERT INTO contacts (tenant_id, id, created_by, status, lead_source, account_id, assigned_to, metadata, \
         custom_fields, {}) SELECT l.tenant_id, l.id, ",
        columns.join(", ")
    ));
    sql.bind(tx.principal().user().0).push(", 'prospect', l.source, ").bind(Bind::Uuid(account_id)).push(", ");
    sql.bind(Bind::Uuid(assigned)).push(", l.metadata || ").bind(jsonb(&metadata)).push(", ");
    sql.bind(jsonb(&custom_fields)).push(format!(", l.{} FROM leads l WHERE l.tenant_id = ", columns.join(", l.")));
    sql.bind(tx.principal().tenant().0).push(" AND l.id = ").bind(lead.id);
    sql.push(format!(" RETURNING {}", Contact::columns()));
    let rows = tx.rows(sql).await?;
    Contact::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)
}

async fn opportunity(
    tx: &mut TenantTx,
    lead: &Lead,
    input: &ConvertInput,
    account_id: Option<Uuid>,
    assigned: Option<Uuid>,
) -> Result<Opportunity, Error> {
    let full_name = format!("{} {}", lead.first_name, lead.last_name);
    let name: String = lead.company.as_ref().unwrap_or(&full_name).chars().take(200).collect();
    let usual = json!({
        "name": name, "amount": lead.estimated_value, "close_date": (clock::now() + CLOSES_IN).date().to_string(),
        "lead_source": lead.source, "type": "new_business", "contact_id": lead.id, "account_id": account_id,
        "lead_id": lead.id, "assigned_to": assigned, "is_test_data": lead.is_test_data,
        "metadata": { "converted_from_lead_id": lead.id },
    });
    let Value::Object(mut body) = usual else { return Err(Error::not_found()) };
    body.extend(input.opportunity.clone());
    body.retain(|_, v| !v.is_null());
    let made = match Changes::read(Opportunity::DEF, &body, Mode::Create) {
        Ok(changes) => record_create(tx, &changes).await,
        Err(e) => Err(e),
    };
    made.map_err(|e| renamed(e, |field| Some(format!("opportunity_{field}"))))
}

/// Gives the lead's opportunities its contact and account where they have none; returns those that got them.
async fn link_opportunities(
    tx: &mut TenantTx,
    lead: Uuid,
    account_id: Option<Uuid>,
    except: Option<Uuid>,
) -> Result<(Vec<Uuid>, Vec<Uuid>), Error> {
    let tenant = tx.principal().tenant().0;
    let mut sql = Sql::new("WITH before AS (SELECT id, contact_id IS NULL AS no_contact, account_id IS NULL AND ");
    sql.bind(Bind::Uuid(account_id)).push(" IS NOT NULL AS no_account FROM opportunities WHERE tenant_id = ");
    sql.bind(tenant).push(" AND deleted_at IS NULL AND lead_id = ").bind(lead).push(" AND id IS DISTINCT FROM ");
    sql.bind(Bind::Uuid(except)).push(" FOR UPDATE) UPDATE opportunities o SET contact_id = coalesce(o.contact_id, ");
    sql.bind(lead).push("), account_id = coalesce(o.account_id, ").bind(Bind::Uuid(account_id));
    sql.push(") FROM before b WHERE o.tenant_id = ").bind(tenant);
    sql.push(" AND o.id = b.id AND (b.no_contact OR b.no_account) RETURNING o.id, b.no_contact, b.no_account");
    let rows = tx.beyond_scope(vec![sql]).await?.pop().unwrap_or_default();
    let (mut contact, mut account) = (Vec::new(), Vec::new());
    for row in &rows {
        let id: Uuid = row.get(0).map_err(Error::internal)?;
        if row.get(1).map_err(Error::internal)? {
            contact.push(id);
        }
        if row.get(2).map_err(Error::internal)? {
            account.push(id);
        }
    }
    Ok((contact, account))
}

async fn mark(
    tx: &mut TenantTx,
    id: Uuid,
    account_id: Option<Uuid>,
    opportunity_id: Option<Uuid>,
) -> Result<Lead, Error> {
    let mut sql =
        Sql::new("UPDATE leads SET status = 'converted', converted_at = clock_timestamp(), converted_contact_id = ");
    sql.bind(id).push(", converted_account_id = ").bind(Bind::Uuid(account_id)).push(", converted_opportunity_id = ");
    sql.bind(Bind::Uuid(opportunity_id)).push(" WHERE tenant_id = ").bind(tx.principal().tenant().0);
    sql.push(" AND id = ").bind(id).push(format!(" RETURNING {}", Lead::columns()));
    let rows = tx.rows(sql).await?;
    Lead::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)
}
