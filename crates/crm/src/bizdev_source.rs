//! Business development sources: companies from lists and registers, before anybody has talked to them.

use aisha_db::{Timestamp, record};
use time::Date;
use uuid::Uuid;

record! {
    /// A company that may become a lead or an account.
    BizdevSource { name: "bizdev_source", plural: "bizdevsources", table: "bizdev_sources", scope: Owned,
                   key: "company_name" => "company_key" }
    /// Name of the company.
    company_name: String = text(200).required().aliases(&["source_name"]);
    /// Name it does business under.
    dba_name: Option<String> = text(200);
    /// The list or register it comes from.
    source: Option<String> = text(200);
    /// How we came by it.
    source_type: Option<String> = choice(&["referral", "marketing", "cold_outreach", "partnership"]);
    /// The delivery it came with.
    batch_id: Option<String> = text(200);
    /// Industry, in the tenant's own words.
    industry: Option<String> = text(200);
    /// Web address.
    website: Option<String> = url().aliases(&["source_url"]);
    /// Whom to ask for.
    contact_person: Option<String> = text(200);
    /// E-mail address.
    email: Option<String> = email().aliases(&["contact_email"]);
    /// Phone number as typed.
    phone: Option<String> = phone("phone_e164").aliases(&["phone_number", "contact_phone"]);
    /// The phone number in E.164 form, where one can be made.
    phone_e164: Option<String> = text(20).read_only();
    /// Street address.
    address_line_1: Option<String> = text(500);
    /// Second address line.
    address_line_2: Option<String> = text(500);
    /// City.
    city: Option<String> = text(200);
    /// State or province.
    state_province: Option<String> = text(200);
    /// Postal code.
    postal_code: Option<String> = text(50);
    /// Country.
    country: Option<String> = text(200);
    /// What has become of it.
    status: String = choice(&["active", "promoted", "inactive", "archived"]).default("active");
    /// How urgent it is.
    priority: String = choice(&["low", "medium", "high"]).default("medium");
    /// Licence number.
    industry_license: Option<String> = text(200);
    /// State of the licence.
    license_status: Option<String> =
        choice(&["active", "suspended", "revoked", "expired", "unknown", "not_required"]);
    /// Day on which the licence ends.
    license_expiry_date: Option<Date> = date();
    /// The account it was promoted to.
    account_id: Option<Uuid> = reference("accounts").read_only();
    /// Name of that account.
    account_name: Option<String> = text(200).read_only();
    /// The contact it was promoted to.
    contact_id: Option<Uuid> = reference("contacts").read_only();
    /// Leads that came of it.
    lead_ids: Vec<String> = tags();
    /// When it was promoted.
    promoted_at: Option<Timestamp> = timestamp().read_only();
    /// When it was archived.
    archived_at: Option<Timestamp> = timestamp().read_only();
    /// Anything worth knowing.
    notes: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
    /// The employee who looks after it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
}
