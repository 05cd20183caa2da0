//! Contacts: the people a team talks to.

use aisha_db::{Day, Json, record};
use uuid::Uuid;

record! {
    /// A person, possibly of an account.
    Contact { name: "contact", plural: "contacts", table: "contacts", scope: Owned, key: "email" => "email" }
    /// Given name.
    first_name: String = text(200).required();
    /// Family name.
    last_name: String = text(200).required();
    /// E-mail address.
    email: Option<String> = email();
    /// Phone number as typed.
    phone: Option<String> = phone("phone_e164");
    /// The phone number in E.164 form, where one can be made.
    phone_e164: Option<String> = text(20).read_only();
    /// Mobile number as typed.
    mobile: Option<String> = phone("mobile_e164");
    /// The mobile number in E.164 form, where one can be made.
    mobile_e164: Option<String> = text(20).read_only();
    /// Position.
    job_title: Option<String> = text(200).aliases(&["title"]);
    /// Department.
    department: Option<String> = text(200);
    /// The account the person belongs to.
    account_id: Option<Uuid> = reference("accounts");
    /// Name of that account.
    account_name: Option<String> = text(200).read_only();
    /// Industry of that account.
    account_industry: Option<String> = text(200).read_only();
    /// Where the contact came from.
    lead_source: Option<String> = choice(&[
        "website", "referral", "cold_call", "email", "social_media", "trade_show", "advertising", "other",
        "inbound_call", "outbound_call", "webhook",
    ]);
    /// Where the relationship stands.
    status: String = choice(&["active", "inactive", "prospect", "customer"]).default("active");
    /// Street address.
    address_1: Option<String> = text(500);
    /// Second address line.
    address_2: Option<String> = text(500);
    /// City.
    city: Option<String> = text(200);
    /// State or province.
    state: Option<String> = text(200);
    /// Postal code.
    zip: Option<String> = text(50);
    /// Country.
    country: Option<String> = text(200);
    /// Anything worth knowing.
    notes: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
    /// How promising the contact is.
    score: Option<i32> = integer(i32::MIN, i32::MAX);
    /// Why.
    score_reason: Option<String> = text(2_000);
    /// What the assistant suggests to do.
    ai_action: String = choice(&["none", "follow_up", "nurture", "qualify", "disqualify"]).default("none");
    /// Day of the last contact.
    last_contacted: Option<Day> = date();
    /// What to do next.
    next_action: Option<String> = text(2_000);
    /// Data of activities, for integrations.
    activity_metadata: Json = json();
    /// Identifier in the system that the record came from.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// Whether the record was read from a document.
    processed_by_ai_doc: bool = flag();
    /// What kind of document that was.
    ai_doc_source_type: Option<String> = choice(&["business_card", "document_extraction"]);
    /// The employee who looks after it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
    /// The contact that a merge has put in its place; then it is in the trash.
    merged_into: Option<Uuid> = reference("contacts").read_only();
}
