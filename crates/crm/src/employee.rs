//! Employees: the people of the tenant, whom records are assigned to. Everybody in the tenant sees them.

use aisha_db::record;
use uuid::Uuid;

record! {
    /// A person who works for the tenant, with or without a user account.
    Employee { name: "employee", plural: "employees", table: "employees", scope: Tenant, key: "email" => "email" }
    /// Given name.
    first_name: String = text(200).required();
    /// Family name.
    last_name: String = text(200).required();
    /// E-mail address; unique among the tenant's live employees.
    email: Option<String> = email();
    /// The user account, if there is one.
    user_id: Option<Uuid> = reference("users").read_only();
    /// Phone number as typed.
    phone: Option<String> = phone("phone_e164");
    /// The phone number in E.164 form, where one can be made.
    phone_e164: Option<String> = text(20).read_only();
    /// Mobile number as typed.
    mobile: Option<String> = phone("mobile_e164");
    /// The mobile number in E.164 form, where one can be made.
    mobile_e164: Option<String> = text(20).read_only();
    /// Department.
    department: Option<String> = text(200);
    /// Position.
    job_title: Option<String> = text(200).aliases(&["title"]);
    /// Whether the person works here.
    status: String = choice(&["active", "inactive", "terminated", "on_leave"]).default("active");
    /// Anything worth knowing.
    notes: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
}
