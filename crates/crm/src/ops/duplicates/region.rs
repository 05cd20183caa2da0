//! Where a tenant dials: the region of phone numbers that are written without a country code.

use aisha_auth::Principal;
use aisha_db::{Db, Sql};
use aisha_kernel::Error;

/// Names that people use beside those of ISO 3166-1.
const USUAL: &[(&str, &str)] = &[
    ("england", "GB"),
    ("great britain", "GB"),
    ("holland", "NL"),
    ("russia", "RU"),
    ("south korea", "KR"),
    ("uk", "GB"),
    ("united kingdom", "GB"),
    ("united states", "US"),
    ("vietnam", "VN"),
];

/// The region (ISO 3166-1, two letters) of a country given by code or English name.
#[must_use]
pub fn of_country(country: &str) -> Option<&'static str> {
    let given = country.trim();
    if let Some((_, region)) = USUAL.iter().find(|(name, _)| name.eq_ignore_ascii_case(given)) {
        return Some(region);
    }
    rust_iso3166::ALL
        .iter()
        .find(|c| [c.alpha2, c.alpha3, c.name].into_iter().any(|known| known.eq_ignore_ascii_case(given)))
        .map(|c| c.alpha2)
}

/// The region that a tenant dials in: `settings.phone_region`, else `settings.country`, else its `country`.
///
/// # Errors
/// 503 when the database is away.
pub async fn of_tenant(db: &Db, me: &Principal) -> Result<Option<&'static str>, Error> {
    let mut sql =
        Sql::new("SELECT settings ->> 'phone_region', settings ->> 'country', country FROM tenant WHERE id = ");
    sql.bind(me.tenant().0);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    let Some(row) = rows.first() else { return Ok(None) };
    for column in 0..3 {
        let given: Option<String> = row.get(column).map_err(Error::internal)?;
        if let Some(region) = given.as_deref().and_then(of_country) {
            return Ok(Some(region));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::of_country;

    #[test]
    fn countries_are_known_by_code_and_name() {
        for (given, region) in [
            ("DE", "DE"),
            ("de", "DE"),
            ("DEU", "DE"),
            (" Germany ", "DE"),
            ("USA", "US"),
            ("United States", "US"),
            ("UK", "GB"),
            ("France", "FR"),
        ] {
            assert_eq!(of_country(given), Some(region), "{given}");
        }
        assert_eq!(of_country("Atlantis"), None);
        assert_eq!(of_country(""), None);
    }
}
