//! Fields: what a column holds and what a client may do with it.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most this many characters.
    Text(usize),
    /// One of these values.
    Choice(&'static [&'static str]),
    /// An e-mail address, stored in lower case.
    Email,
    /// A phone number as typed; the named column holds the E.164 form where one can be made.
    Phone(&'static str),
    /// A web address, with or without a scheme.
    Url,
    /// A whole number within these bounds.
    Integer(i32, i32),
    /// `numeric(15,2)`, not negative; `<name>_minor` holds the minor units.
    Money,
    /// True or false.
    Bool,
    /// A calendar day.
    Date,
    /// An instant.
    Timestamp,
    /// A time of day, `09:30`.
    Time,
    /// An id that refers to nothing we check.
    Uuid,
    /// A live, visible row of another table of the tenant.
    Reference(&'static str),
    /// An employee, by id or e-mail address.
    Employee,
    /// The e-mail address of a user of the tenant.
    UserEmail,
    /// A list of words.
    Tags,
    /// A JSON object.
    Json,
    /// A JSON array.
    JsonList,
}

/// One field of a record type.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Column and API name.
    pub name: &'static str,
    /// What it means, for the API documentation.
    pub doc: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Must have a value from creation on.
    pub required: bool,
    /// Shown, but not the client's to set: accepted and ignored on input.
    pub read_only: bool,
    /// SQL text of the value when none is given at creation.
    pub default: Option<&'static str>,
    /// Other names accepted on input.
    pub aliases: &'static [&'static str],
    /// A state that follows from other columns and is shown in place of the stored value: see [`Field::state`].
    pub state: Option<State>,
    /// Whether colleagues see nothing of it: only who sees the whole tenant or department, and the person itself
    /// (`user_id`). Such a field cannot be filtered or sorted by.
    pub personal: bool,
}

/// A computed value of a choice. Clients read it and filter by it; sent back, it leaves the field as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The value that is shown.
    pub value: &'static str,
    /// When: a condition over the columns.
    pub when: &'static str,
}

/// `r#type` is `type` everywhere but in Rust.
#[must_use]
pub const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

const fn field(kind: Kind) -> Field {
    Field {
        name: "",
        doc: "",
        kind,
        required: false,
        read_only: false,
        default: None,
        aliases: &[],
        state: None,
        personal: false,
    }
}

impl Field {
    /// Must have a value.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Shown only.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Has this value (SQL text) when none is given; may then not be null.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Also accepted under these names.
    #[must_use]
    pub const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    /// Is shown as `value` while the SQL condition `when` holds.
    #[must_use]
    pub const fn state(mut self, value: &'static str, when: &'static str) -> Self {
        self.state = Some(State { value, when });
        self
    }

    /// Shown to those above and to the person itself.
    #[must_use]
    pub const fn personal(mut self) -> Self {
        self.personal = true;
        self
    }

    /// Used by [`crate::record!`].
    #[must_use]
    pub const fn named(mut self, name: &'static str, doc: &'static str) -> Self {
        self.name = plain(name);
        self.doc = doc;
        self
    }

    /// Whether `null` is a value for it.
    #[must_use]
    pub const fn nullable(&self) -> bool {
        !self.required && self.default.is_none()
    }

    /// What is selected for it.
    #[must_use]
    pub fn selected(&self) -> String {
        let column = match (self.kind, self.state) {
            (Kind::Money, _) => format!("{}_minor", self.name),
            (_, Some(State { value, when })) => format!("CASE WHEN {when} THEN '{value}' ELSE {} END", self.name),
            _ => self.name.to_owned(),
        };
        if !self.personal {
            return column;
        }
        format!(
            "CASE WHEN current_setting('role') <> 'aisha_own' OR user_id = current_user_id() THEN {column} END AS {column}"
        )
    }

    /// The SQL type that a text value is cast to.
    #[must_use]
    pub const fn sql_type(&self) -> &'static str {
        match self.kind {
            Kind::Text(_)
            | Kind::Choice(_)
            | Kind::Email
            | Kind::UserEmail
            | Kind::Phone(_)
            | Kind::Url
            | Kind::Time => "text",
            Kind::Integer(..) => "integer",
            Kind::Money => "numeric",
            Kind::Bool => "boolean",
            Kind::Date => "date",
            Kind::Timestamp => "timestamptz",
            Kind::Uuid | Kind::Reference(_) | Kind::Employee => "uuid",
            Kind::Tags => "text[]",
            Kind::Json | Kind::JsonList => "jsonb",
        }
    }

    /// Whether a list can be ordered by it.
    #[must_use]
    pub const fn sortable(&self) -> bool {
        !matches!(self.kind, Kind::Tags | Kind::Json | Kind::JsonList) && !self.personal
    }
}

/// Text of at most `max` characters.
#[must_use]
pub const fn text(max: usize) -> Field {
    field(Kind::Text(max))
}

/// One of `values`.
#[must_use]
pub const fn choice(values: &'static [&'static str]) -> Field {
    field(Kind::Choice(values))
}

/// An e-mail address.
#[must_use]
pub const fn email() -> Field {
    field(Kind::Email)
}

/// A phone number whose E.164 form stands in the column `e164`.
#[must_use]
pub const fn phone(e164: &'static str) -> Field {
    field(Kind::Phone(e164))
}

/// A web address.
#[must_use]
pub const fn url() -> Field {
    field(Kind::Url)
}

/// A whole number.
#[must_use]
pub const fn integer(min: i32, max: i32) -> Field {
    field(Kind::Integer(min, max))
}

/// An amount of money.
#[must_use]
pub const fn money() -> Field {
    field(Kind::Money)
}

/// A flag, off unless set.
#[must_use]
pub const fn flag() -> Field {
    field(Kind::Bool).default("false")
}

/// A calendar day.
#[must_use]
pub const fn date() -> Field {
    field(Kind::Date)
}

/// A time of day.
#[must_use]
pub const fn time_of_day() -> Field {
    field(Kind::Time)
}

/// An instant.
#[must_use]
pub const fn timestamp() -> Field {
    field(Kind::Timestamp)
}

/// A reference to another table of the tenant.
#[must_use]
pub const fn reference(table: &'static str) -> Field {
    field(Kind::Reference(table))
}

/// An employee.
#[must_use]
pub const fn employee() -> Field {
    field(Kind::Employee)
}

/// The e-mail address of a user of the tenant.
#[must_use]
pub const fn user_email() -> Field {
    field(Kind::UserEmail)
}

/// A list of words.
#[must_use]
pub const fn tags() -> Field {
    field(Kind::Tags).default("{}")
}

/// A JSON object.
#[must_use]
pub const fn json() -> Field {
    field(Kind::Json).default("{}")
}

/// A JSON array.
#[must_use]
pub const fn json_list() -> Field {
    field(Kind::JsonList).default("[]")
}

/// An id of a row whose type stands in another field; the database checks it.
#[must_use]
pub const fn id() -> Field {
    field(Kind::Uuid)
}

/// Fields that every record has; the first two come before its own.
pub static COMMON: [Field; 10] = [
    field(Kind::Uuid).required().read_only().named("id", "Identifier (UUID version 7)."),
    field(Kind::Uuid).required().read_only().named("tenant_id", "The tenant it belongs to."),
    json().named("metadata", "Free-form data of integrations; replaced as a whole."),
    json().named("custom_fields", "Values of the tenant's own fields; on update merged key by key, null removes."),
    flag().named("is_test_data", "Whether it was made for testing."),
    field(Kind::Uuid).read_only().named("created_by", "The user who created it."),
    field(Kind::Timestamp)
        .required()
        .read_only()
        .aliases(&["created_date"])
        .named("created_at", "When it was created."),
    field(Kind::Timestamp)
        .required()
        .read_only()
        .aliases(&["updated_date"])
        .named("updated_at", "When it was last changed."),
    field(Kind::Timestamp).read_only().named("deleted_at", "When it was moved to the trash; absent on live records."),
    field(Kind::Integer(1, i32::MAX))
        .required()
        .read_only()
        .named("version", "Counts the changes; the ETag is made of it."),
];
