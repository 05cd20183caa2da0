//! Accounts: the companies a team sells to.

use aisha_db::record;
use aisha_kernel::money::Money;
use uuid::Uuid;

record! {
    /// A company.
    Account { name: "account", plural: "accounts", table: "accounts", scope: Owned, key: "name" => "name_key" }
    /// Name; unique among the tenant's live accounts, in any case.
    name: String = text(200).required();
    /// What the company is to us.
    r#type: String = choice(&["prospect", "customer", "partner", "competitor", "vendor"]).default("prospect");
    /// Industry, in the tenant's own words.
    industry: Option<String> = text(200);
    /// Web address.
    website: Option<String> = url();
    /// Phone number as typed.
    phone: Option<String> = phone("phone_e164");
    /// The phone number in E.164 form, where one can be made.
    phone_e164: Option<String> = text(20).read_only();
    /// E-mail address.
    email: Option<String> = email();
    /// Revenue per year, in the tenant's currency.
    annual_revenue: Option<Money> = money();
    /// Number of employees.
    employee_count: Option<i32> = integer(0, i32::MAX);
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
    description: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
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
    /// The account that a merge has put in its place; then it is in the trash.
    merged_into: Option<Uuid> = reference("accounts").read_only();
}
