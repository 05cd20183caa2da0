//! Cash flow: money that came in or went out.

use aisha_db::record;
use aisha_kernel::money::Money;
use time::Date;
use uuid::Uuid;

record! {
    /// A transaction.
    CashFlow { name: "cash_flow", plural: "cashflow", table: "cash_flow", scope: Owned,
               key: "legacy_id" => "legacy_key" }
    /// Whether it came in or went out.
    transaction_type: String = choice(&["income", "expense"]).required().aliases(&["type"]);
    /// What it was for.
    category: String = choice(&[
        "sales_revenue", "recurring_revenue", "refund", "operating_expense", "marketing", "equipment", "supplies",
        "utilities", "rent", "payroll", "professional_services", "travel", "meals", "other",
    ]).default("other");
    /// How much, in the tenant's currency; never negative.
    amount: Money = money().required();
    /// Day of the transaction.
    transaction_date: Date = date().required();
    /// In a few words.
    description: Option<String> = text(2_000);
    /// Who paid or was paid.
    vendor_client: Option<String> = text(200);
    /// The account it is with.
    account_id: Option<Uuid> = reference("accounts").aliases(&["related_account_id"]);
    /// Name of that account.
    account_name: Option<String> = text(200).read_only();
    /// Industry of that account.
    account_industry: Option<String> = text(200).read_only();
    /// The deal it came from.
    opportunity_id: Option<Uuid> = reference("opportunities").aliases(&["related_opportunity_id"]);
    /// Whether it comes again.
    is_recurring: bool = flag();
    /// How often.
    recurrence_pattern: Option<String> = choice(&["weekly", "monthly", "quarterly", "annually"]);
    /// Whether it happened.
    status: String = choice(&["actual", "projected", "pending", "cancelled"]).default("actual");
    /// How it was entered.
    entry_method: String =
        choice(&["manual", "crm_auto", "document_extracted", "recurring_auto"]).default("manual");
    /// Whether people are meant to change it.
    is_editable: bool = flag().default("true");
    /// Why the amount was adjusted.
    adjustment_reason: Option<String> = text(2_000);
    /// The amount before that.
    original_amount: Option<Money> = money();
    /// What it is to the tax office.
    tax_category: String = choice(&["deductible", "non_deductible", "asset", "unknown"]).default("unknown");
    /// How it was paid.
    payment_method: Option<String> = choice(&["cash", "check", "credit_card", "bank_transfer", "other"]);
    /// Number of the invoice.
    invoice_number: Option<String> = text(200);
    /// Where the receipt is.
    receipt_url: Option<String> = url();
    /// Anything worth knowing.
    notes: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
    /// Tags that the assistant suggests.
    ai_suggested_tags: Vec<String> = tags();
    /// Whether it was read from a document.
    processed_by_ai: bool = flag();
    /// Identifier in the system that the record came from; what makes two rows of an import the same.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// The employee who looks after it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
}
