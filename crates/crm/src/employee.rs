//! Employees: the people of the tenant, whom records are assigned to. Everybody in the tenant sees them.

use aisha_db::{Day, record};
use aisha_kernel::money::Money;
use uuid::Uuid;

record! {
    /// A person who works for the tenant, with or without a user account. An employee and its user have one name and one
    /// e-mail address: changing either changes both.
    Employee { name: "employee", plural: "employees", table: "employees", scope: Tenant, key: "email" => "email" }
    /// Given name.
    first_name: String = text(200).required();
    /// Family name.
    last_name: String = text(200).required();
    /// E-mail address; unique among the tenant's live employees and users. That of the user, if there is one.
    email: Option<String> = email();
    /// The user account, if there is one.
    user_id: Option<Uuid> = reference("users").read_only();
    /// E-mail address of the user account. Given for an employee without one, it links the user of the tenant who has this
    /// address and no employee record.
    user_email: Option<String> = user_email();
    /// Whether there is a user account that is active.
    has_crm_access: bool = flag().read_only();
    /// Number in the tenant's own books.
    employee_number: Option<String> = text(100);
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
    /// The employee whom this one reports to, by id or e-mail address.
    manager_employee_id: Option<Uuid> = employee();
    /// Whether the person works here.
    status: String = choice(&["active", "inactive", "terminated", "on_leave"]).default("active").aliases(&["employment_status"]);
    /// Whether the status is active.
    is_active: bool = flag().read_only();
    /// First day of work.
    hire_date: Option<Day> = date();
    /// Kind of contract.
    employment_type: String = choice(&["full_time", "part_time", "contractor", "seasonal"]).default("full_time");
    /// Pay per hour; shown to managers and above, and to the person itself.
    hourly_rate: Option<Money> = money().personal();
    /// What the person can do.
    skills: Vec<String> = tags();
    /// Street and number; shown to managers and above, and to the person itself.
    address_1: Option<String> = text(500).personal();
    /// Further address line; shown to managers and above, and to the person itself.
    address_2: Option<String> = text(500).personal();
    /// City; shown to managers and above, and to the person itself.
    city: Option<String> = text(200).personal();
    /// State or province; shown to managers and above, and to the person itself.
    state: Option<String> = text(200).personal();
    /// Postal code; shown to managers and above, and to the person itself.
    zip: Option<String> = text(50).personal();
    /// Whom to call in an emergency; shown to managers and above, and to the person itself.
    emergency_contact_name: Option<String> = text(200).personal();
    /// The number to call; shown to managers and above, and to the person itself.
    emergency_contact_phone: Option<String> = phone("emergency_contact_phone_e164").personal();
    /// Anything worth knowing.
    notes: Option<String> = text(20_000);
    /// Tags.
    tags: Vec<String> = tags();
}
