//! Opportunities: deals on their way through the tenant's pipeline. What follows from a stage is decided in
//! `sql/057_pipeline.sql`, for every way in which a stage can change.

use aisha_db::{Timestamp, record};
use aisha_kernel::money::Money;
use time::Date;
use uuid::Uuid;

record! {
    /// A deal.
    Opportunity { name: "opportunity", plural: "opportunities", table: "opportunities", scope: Owned,
                  key: "legacy_id" => "legacy_key" }
    /// Name.
    name: String = text(200).required();
    /// The account it is with.
    account_id: Option<Uuid> = reference("accounts");
    /// Name of that account.
    account_name: Option<String> = text(200).read_only();
    /// Industry of that account.
    account_industry: Option<String> = text(200).read_only();
    /// The person it is with.
    contact_id: Option<Uuid> = reference("contacts");
    /// Name of that contact.
    contact_name: Option<String> = text(401).read_only();
    /// E-mail address of that contact.
    contact_email: Option<String> = text(320).read_only();
    /// The lead it came from.
    lead_id: Option<Uuid> = reference("leads");
    /// One of the tenant's stages; the first open one when absent.
    stage: String = text(63).default("");
    /// What the stage means: `open`, `won` or `lost`.
    outcome: String = choice(&["open", "won", "lost"]).default("open").read_only();
    /// When it entered the stage.
    stage_changed_at: Timestamp = timestamp().required().read_only();
    /// When it was won or lost.
    closed_at: Option<Timestamp> = timestamp().read_only();
    /// Why it was lost.
    lost_reason: Option<String> = text(2_000);
    /// What it is worth, in the tenant's currency.
    amount: Option<Money> = money();
    /// How likely it is, in percent; the stage's own when absent.
    probability: Option<i32> = integer(0, 100);
    /// Day on which it is expected to be decided.
    close_date: Option<Date> = date().aliases(&["expected_close_date"]);
    /// Where it came from.
    lead_source: Option<String> = choice(&[
        "website", "referral", "cold_call", "email", "social_media", "trade_show", "advertising", "other",
        "inbound_call", "outbound_call", "webhook",
    ]).aliases(&["source"]);
    /// What kind of business it is.
    r#type: Option<String> = choice(&["new_business", "existing_business", "renewal"]);
    /// Anything worth knowing.
    description: Option<String> = text(20_000);
    /// What to do next.
    next_step: Option<String> = text(2_000);
    /// Who else is after it.
    competitor: Option<String> = text(200);
    /// Tags.
    tags: Vec<String> = tags();
    /// Identifier in the system that the record came from; what makes two rows of an import the same.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// The employee who looks after it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
}
