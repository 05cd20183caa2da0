//! Records that may be one and the same person or company: before one more is created, and among those that are there.
//!
//! Two records are alike by e-mail address, phone number, web domain or name, each in the form of
//! `sql/058_duplicates.sql`. Every look-up descends an index, and nobody is shown a record that it may not see.

pub mod groups;
pub mod region;

pub use groups::{Groups, GroupsQuery, duplicate_groups};

use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, Sql,
    record::{
        Record,
        list::scope,
        value::{e164, phone_digits},
    },
};
use aisha_kernel::{Error, FieldError};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Account, Contact, Lead};

/// Hits per way of being alike.
const MOST_HITS: i64 = 20;
/// Characters of a value that is compared; no field that counts here holds more.
const MOST_CHARACTERS: usize = 2_000;

/// A way in which two records are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The same e-mail address.
    Email,
    /// The same phone or mobile number.
    Phone,
    /// The same web domain.
    Website,
    /// The same name: of a company without its legal form, of a person in full.
    Name,
}

impl By {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Email, Self::Phone, Self::Website, Self::Name];

    /// Its name in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Website => "website",
            Self::Name => "name",
        }
    }

    /// By its name in requests.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == name)
    }

    /// The ways in which records of a table can be alike.
    #[must_use]
    pub fn of(table: &str) -> Vec<Self> {
        Self::ALL.into_iter().filter(|by| !by.columns(table).is_empty()).collect()
    }

    /// Why two records are shown together, for a person.
    #[must_use]
    pub fn reason(self, table: &str) -> &'static str {
        match self {
            Self::Email => "Same email address",
            Self::Phone => "Same phone number",
            Self::Website => "Same website",
            Self::Name if table == "accounts" => "Same company name",
            Self::Name => "Same name",
        }
    }

    /// The indexed columns that hold the compared form.
    fn columns(self, table: &str) -> &'static [&'static str] {
        match (self, table) {
            (Self::Email, _) => &["email"],
            (Self::Phone, "contacts") => &["phone_e164", "mobile_e164", "phone_digits", "mobile_digits"],
            (Self::Phone, _) => &["phone_e164", "phone_digits"],
            (Self::Website, "accounts") => &["website_domain"],
            (Self::Website, _) => &[],
            (Self::Name, _) => &["name_normalized"],
        }
    }
}

/// How sure a reason makes one, in percent; several add up like independent witnesses.
fn weight(reason: &str) -> u32 {
    match reason {
        "Same email address" => 90,
        "Same phone number" => 70,
        "Same website" => 75,
        "Same company name" => 80,
        _ => 40,
    }
}

/// A record that may be the one about to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Its id.
    pub id: Uuid,
    /// Its record type, singular: a new contact may be known as a lead.
    pub entity_type: &'static str,
    /// Name of the person or company.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number as typed.
    pub phone: Option<String>,
    /// Why.
    pub reasons: Vec<&'static str>,
    /// How likely it is the same one, 0 to 100.
    pub score: u32,
}

/// What is known of the record that is about to be created.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    email: Option<String>,
    phones: Vec<String>,
    website: Option<String>,
    name: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    account_id: Option<Uuid>,
}

impl Candidate {
    /// Reads the record as a client would send it to be created. Fields that are not compared are left alone.
    ///
    /// # Errors
    /// 422 naming a field that is no text.
    pub fn read(data: &Map<String, Value>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let mut text = |names: &[&str]| {
            let (name, value) = names.iter().find_map(|n| data.get(*n).filter(|v| !v.is_null()).map(|v| (*n, v)))?;
            match value.as_str().map(str::trim) {
                Some("") => None,
                Some(s) if s.chars().count() <= MOST_CHARACTERS && !s.contains(char::is_control) => Some(s.to_owned()),
                Some(_) => {
                    let most =
                        format!("must have at most {MOST_CHARACTERS} characters, none of them control characters");
                    problems.push(FieldError::new(format!("data.{name}"), most));
                    None
                }
                None => {
                    problems.push(FieldError::new(format!("data.{name}"), "must be a text"));
                    None
                }
            }
        };
        let candidate = Self {
            email: text(&["email"]).map(|e| e.to_lowercase()),
            phones: [text(&["phone"]), text(&["mobile"])].into_iter().flatten().collect(),
            website: text(&["website"]),
            name: text(&["name"]),
            first_name: text(&["first_name"]),
            last_name: text(&["last_name"]),
            company: text(&["company", "account_name"]),
            account_id: text(&["account_id"]).and_then(|id| Uuid::parse_str(&id).ok()),
        };
        if problems.is_empty() { Ok(candidate) } else { Err(Error::validation(problems)) }
    }
}

/// The forms in which the numbers of a candidate may be stored.
#[derive(Debug, Default)]
struct Numbers {
    e164: Vec<String>,
    digits: Vec<String>,
}

impl Numbers {
    fn of(phones: &[String], region: Option<&str>) -> Self {
        let mut out = Self::default();
        for phone in phones {
            out.e164.extend(e164(phone, None).or_else(|| e164(phone, region)));
            out.digits.extend(phone_digits(phone, region));
        }
        out.digits.sort_unstable();
        out.digits.dedup();
        out
    }
}

/// The columns of a hit, by position.
fn shown(table: &str) -> &'static str {
    match table {
        "accounts" => "id, name::text, email::text, phone::text",
        "contacts" => "id, first_name || ' ' || last_name, email::text, coalesce(phone, mobile)::text",
        _ => "id, first_name || ' ' || last_name, email::text, phone::text",
    }
}

/// One look-up: rows of `R` for which `condition` holds.
fn arm<R: Record>(me: &Principal, reasons: &str, exclude: Option<Uuid>, condition: Sql) -> Sql {
    let table = R::DEF.table;
    let mut sql = Sql::new(format!(
        "(SELECT '{}'::text, {}, '{reasons}'::text FROM {table} WHERE tenant_id = ",
        R::DEF.name,
        shown(table)
    ));
    sql.bind(me.tenant().0).push(" AND deleted_at IS NULL AND ").append(condition);
    scope::<R>(me, &mut sql);
    if let Some(id) = exclude {
        sql.push(" AND id <> ").bind(id);
    }
    sql.push(format!(" LIMIT {MOST_HITS})"));
    sql
}

fn equals(column: &str, value: &str) -> Sql {
    let mut sql = Sql::new(format!("{column} = "));
    sql.bind(Bind::text(value));
    sql
}

/// The look-ups among rows of `R`.
fn arms<R: Record>(me: &Principal, c: &Candidate, numbers: &Numbers, exclude: Option<Uuid>) -> Vec<Sql> {
    let table = R::DEF.table;
    let mut out = Vec::new();
    let mut add = |by: By, condition: Sql| out.push(arm::<R>(me, by.reason(table), exclude, condition));
    if let Some(email) = &c.email {
        add(By::Email, equals("email", email));
    }
    for column in By::Phone.columns(table) {
        let known = if column.ends_with("e164") { &numbers.e164 } else { &numbers.digits };
        if !known.is_empty() {
            let mut sql = Sql::new(format!("{column} = ANY("));
            sql.bind(Bind::Texts(Some(known.clone()))).push(")");
            add(By::Phone, sql);
        }
    }
    if table == "accounts" {
        if let Some(website) = &c.website {
            let mut sql = Sql::new("website_domain = website_domain(");
            sql.bind(Bind::text(website)).push(")");
            add(By::Website, sql);
        }
        if let Some(name) = &c.name {
            let mut sql = Sql::new("name_normalized = company_normalized(");
            sql.bind(Bind::text(name)).push(")");
            add(By::Name, sql);
        }
        return out;
    }
    // Namesakes are no duplicates; namesakes in one company are.
    if let (Some(first), Some(last)) = (&c.first_name, &c.last_name)
        && (c.company.is_some() || c.account_id.is_some())
    {
        let mut sql = Sql::new("name_normalized = person_normalized(");
        sql.bind(Bind::text(first)).push(", ").bind(Bind::text(last)).push(") AND (account_id = ");
        sql.bind(Bind::Uuid(c.account_id)).push(" OR company_normalized(account_name) = company_normalized(");
        sql.bind(Bind::Text(c.company.clone(), "text")).push(")");
        if table == "leads" {
            sql.push(" OR company_normalized(company) = company_normalized(");
            sql.bind(Bind::Text(c.company.clone(), "text")).push(")");
        }
        sql.push(")");
        out.push(arm::<R>(me, "Same company name|Same name", exclude, sql));
    }
    out
}

/// Live records that the principal sees and that may be the one about to be created, likeliest first. `entity` is
/// `contact`, `account` or `lead`; contacts and leads are compared with each other. `exclude` is the record itself, when
/// it exists already.
///
/// # Errors
/// 503 when the database is away.
pub async fn duplicates_of(
    db: &Db,
    me: &Principal,
    entity: &str,
    candidate: &Candidate,
    exclude: Option<Uuid>,
) -> Result<Vec<Duplicate>, Error> {
    let region = if candidate.phones.is_empty() { None } else { region::of_tenant(db, me).await? };
    let numbers = Numbers::of(&candidate.phones, region);
    let arms = if entity == "account" {
        arms::<Account>(me, candidate, &numbers, exclude)
    } else {
        let mut people = arms::<Contact>(me, candidate, &numbers, exclude);
        people.extend(arms::<Lead>(me, candidate, &numbers, exclude));
        people
    };
    if arms.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: Vec<Duplicate> = Vec::new();
    // One flight: all look-ups see the same records.
    for row in db.fetch(me, arms).await?.iter().flatten() {
        let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let (kind, id): (String, Uuid) = (row.get(0)?, row.get(1)?);
            let (name, email, phone): (String, Option<String>, Option<String>) =
                (row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((kind, id, name, email, phone, row.get::<String>(5)?))
        };
        let (kind, id, name, email, phone, why) = read().map_err(Error::internal)?;
        let entity_type = ["account", "contact"].into_iter().find(|e| *e == kind).unwrap_or("lead");
        let at = found.iter().position(|d| d.id == id && d.entity_type == entity_type).unwrap_or_else(|| {
            found.push(Duplicate { id, entity_type, name, email, phone, reasons: Vec::new(), score: 0 });
            found.len() - 1
        });
        let Some(hit) = found.get_mut(at) else { continue };
        for reason in why.split('|') {
            let known = REASONS.into_iter().find(|r| *r == reason);
            hit.reasons.extend(known.filter(|r| !hit.reasons.contains(r)));
        }
    }
    for hit in &mut found {
        let doubt = hit.reasons.iter().fold(100, |doubt, reason| doubt * (100 - weight(reason)) / 100);
        hit.score = 100 - doubt;
    }
    found.sort_by(|a, b| b.score.cmp(&a.score).then(a.id.cmp(&b.id)));
    Ok(found)
}

/// Every reason.
const REASONS: [&str; 5] =
    ["Same email address", "Same phone number", "Same website", "Same company name", "Same name"];
