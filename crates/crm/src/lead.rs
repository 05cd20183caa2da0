//! Leads: people who may become customers. Converting one is `ops::lead_convert`.

use aisha_db::{Day, Json, Timestamp, record};
use aisha_kernel::money::Money;
use uuid::Uuid;

record! {
    /// A person who may become a customer.
    Lead { name: "lead", plural: "leads", table: "leads", scope: Owned, key: "email" => "email" }
    /// Given name.
    first_name: String = text(200).required();
    /// Family name.
    last_name: String = text(200).required();
    /// E-mail address.
    email: Option<String> = email();
    /// Phone number as typed.
    phone: Option<String> = phone("phone_e164").aliases(&["mobile"]);
    /// The phone number in E.164 form, where one can be made.
    phone_e164: Option<String> = text(20).read_only();
    /// Must not be called.
    do_not_call: bool = flag();
    /// Must not be sent text messages.
    do_not_text: bool = flag();
    /// Company the person works for, as heard.
    company: Option<String> = text(200);
    /// Position.
    job_title: Option<String> = text(200).aliases(&["title"]);
    /// The account the person belongs to, if it is one of ours.
    account_id: Option<Uuid> = reference("accounts");
    /// Name of that account.
    account_name: Option<String> = text(200).read_only();
    /// Industry of that account.
    account_industry: Option<String> = text(200).read_only();
    /// Where the lead came from.
    source: Option<String> = choice(&[
        "website", "referral", "cold_call", "email", "social_media", "trade_show", "advertising", "other",
        "inbound_call", "outbound_call", "webhook",
    ]).aliases(&["lead_source"]);
    /// How far we are; `converted` is set by the conversion.
    status: String = choice(&["new", "contacted", "qualified", "unqualified", "converted", "lost"]).default("new");
    /// How promising the lead is.
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
    /// What a deal may be worth, in the tenant's currency.
    estimated_value: Option<Money> = money();
    /// When the lead was converted.
    converted_at: Option<Timestamp> = timestamp().read_only();
    /// The contact it became; the same id as the lead's.
    converted_contact_id: Option<Uuid> = reference("contacts").read_only();
    /// The account that contact belongs to.
    converted_account_id: Option<Uuid> = reference("accounts").read_only();
    /// The opportunity that came of it.
    converted_opportunity_id: Option<Uuid> = reference("opportunities").read_only();
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
    /// Identifier in the system that the record came from.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// The employee who looks after it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
    /// The lead that a merge has put in its place; then it is in the trash.
    merged_into: Option<Uuid> = reference("leads").read_only();
}
