//! What may be set as `settings.stages` of the module `opportunities`, and how it is stored. The stages in force, the usual
//! ones included, are read with `pipeline_stages()` in `sql/057_pipeline.sql`.

use aisha_kernel::FieldError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most stages that a tenant may name.
const MOST: usize = 30;
const FIELD: &str = "settings.stages";

/// What being in a stage means for an opportunity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Still worked on.
    Open,
    /// Closed and won.
    Won,
    /// Closed and lost.
    Lost,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What records hold: lower-case letters, digits and underscores.
    pub name: String,
    /// What people see.
    pub label: String,
    /// How likely an opportunity in it is won, 0 to 100.
    pub probability: i32,
    /// What it means.
    pub outcome: Outcome,
}

/// The stages in their order; there is always an open, a won and a lost one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stages(Vec<Stage>);

/// `closed_won` becomes `Closed won`.
fn label(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars.map(|c| if c == '_' { ' ' } else { c })).collect()
}

fn is_name(s: &str) -> bool {
    s.len() <= 63
        && s.starts_with(|c: char| c.is_ascii_lowercase())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// What a name alone says.
fn outcome_of(name: &str) -> Outcome {
    match name {
        "closed_won" | "won" | "closed" => Outcome::Won,
        "closed_lost" | "lost" => Outcome::Lost,
        _ => Outcome::Open,
    }
}

/// A stage as it was given; the probability may be missing.
struct Given {
    name: String,
    label: String,
    probability: Option<i32>,
    outcome: Outcome,
}

fn given(at: usize, v: &Value) -> Result<Given, FieldError> {
    let bad = |key: &str, message: &str| FieldError::new(format!("{FIELD}[{at}]{key}"), message);
    let empty = Map::new();
    let (name, map) = match v {
        Value::String(name) => (name.as_str(), &empty),
        Value::Object(map) => (map.get("name").and_then(Value::as_str).unwrap_or_default(), map),
        _ => return Err(bad("", "must be a name, or an object with name, label, probability and outcome")),
    };
    if let Some(key) = map.keys().find(|k| !["name", "label", "probability", "outcome"].contains(&k.as_str())) {
        return Err(bad(&format!(".{key}"), "is not a field of a stage"));
    }
    let key = if v.is_string() { "" } else { ".name" };
    if !is_name(name) {
        return Err(bad(
            key,
            "must start with a lower-case letter and have at most 63 of those, digits and underscores",
        ));
    }
    let label = match map.get("label") {
        None | Some(Value::Null) => label(name),
        Some(Value::String(s)) if !s.trim().is_empty() && s.chars().count() <= 100 && !s.contains(char::is_control) => {
            s.trim().to_owned()
        }
        Some(_) => return Err(bad(".label", "must be a text of 1 to 100 characters")),
    };
    let probability = match map.get("probability") {
        None | Some(Value::Null) => None,
        Some(n) => match n.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| (0..=100).contains(n)) {
            Some(n) => Some(n),
            None => return Err(bad(".probability", "must be a whole number from 0 to 100")),
        },
    };
    let outcome = match map.get("outcome") {
        None | Some(Value::Null) => outcome_of(name),
        Some(v) => serde_json::from_value(v.clone()).map_err(|_| bad(".outcome", "must be open, won or lost"))?,
    };
    Ok(Given { name: name.to_owned(), label, probability, outcome })
}

impl Stages {
    /// Reads a list of names or of objects and completes it: outcomes by name, rising probabilities for open stages,
    /// and a `closed_won` and `closed_lost` where no stage is won or lost.
    ///
    /// # Errors
    /// A message for every stage that cannot be used, named `settings.stages[0].name` and so on.
    pub fn read(v: &Value) -> Result<Self, Vec<FieldError>> {
        let list = v.as_array().filter(|l| !l.is_empty());
        let list = list.ok_or_else(|| vec![FieldError::new(FIELD, "must be a list of at least one stage")])?;
        let (read, mut problems): (Vec<_>, Vec<_>) =
            list.iter().enumerate().map(|(at, v)| given(at, v)).partition(Result::is_ok);
        let mut stages: Vec<Given> = read.into_iter().flatten().collect();
        let mut problems: Vec<FieldError> = problems.drain(..).filter_map(Result::err).collect();
        for (at, stage) in stages.iter().enumerate() {
            if stages.iter().take(at).any(|s| s.name == stage.name) {
                problems.push(FieldError::new(FIELD, format!("has {} twice", stage.name)));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if !stages.iter().any(|s| s.outcome == Outcome::Open) {
            return Err(vec![FieldError::new(FIELD, "must have at least one open stage")]);
        }
        for (name, outcome) in [("closed_won", Outcome::Won), ("closed_lost", Outcome::Lost)] {
            if stages.iter().any(|s| s.outcome == outcome) {
                continue;
            }
            if stages.iter().any(|s| s.name == name) {
                let message = format!("has no stage with the outcome of {name}, and {name} means something else");
                return Err(vec![FieldError::new(FIELD, message)]);
            }
            stages.push(Given { name: name.into(), label: label(name), probability: None, outcome });
        }
        // Those that every list has do not count.
        if stages.iter().filter(|s| !["closed_won", "closed_lost"].contains(&s.name.as_str())).count() > MOST {
            return Err(vec![FieldError::new(FIELD, format!("must have at most {MOST} stages"))]);
        }
        Ok(Self::complete(stages))
    }

    fn complete(stages: Vec<Given>) -> Self {
        let open = i32::try_from(stages.iter().filter(|s| s.outcome == Outcome::Open).count()).unwrap_or(i32::MAX);
        let mut nth = 0;
        let complete = |s: Given| {
            let usual = match s.outcome {
                Outcome::Won => 100,
                Outcome::Lost => 0,
                Outcome::Open => {
                    nth += 1;
                    100 * nth / (open + 1)
                }
            };
            Stage { name: s.name, label: s.label, probability: s.probability.unwrap_or(usual), outcome: s.outcome }
        };
        Self(stages.into_iter().map(complete).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn short(v: &Value) -> Vec<(String, i32, Outcome)> {
        Stages::read(v).unwrap().0.into_iter().map(|s| (s.name, s.probability, s.outcome)).collect()
    }

    #[test]
    fn names_alone_are_enough() {
        let stages = short(&json!(["prospect", "qualified", "proposal", "negotiation", "closed"]));
        let named = |n: &str, p, o| (n.to_owned(), p, o);
        assert_eq!(
            stages,
            [
                named("prospect", 20, Outcome::Open),
                named("qualified", 40, Outcome::Open),
                named("proposal", 60, Outcome::Open),
                named("negotiation", 80, Outcome::Open),
                named("closed", 100, Outcome::Won),
                named("closed_lost", 0, Outcome::Lost),
            ]
        );
        assert_eq!(short(&json!(["only"])).len(), 3, "a list has a won and a lost stage");
    }

    #[test]
    fn what_is_stored_reads_back_as_it_is() {
        let objects = json!([{"name": "new", "label": "Neu", "probability": 5}, {"name": "lost"},
                             {"name": "signed", "outcome": "won"}]);
        let stages = Stages::read(&objects).unwrap();
        let find = |name: &str| stages.0.iter().find(|s| s.name == name);
        assert_eq!(find("new").map(|s| (s.label.as_str(), s.probability)), Some(("Neu", 5)));
        let won = stages.0.iter().find(|s| s.outcome == Outcome::Won);
        assert_eq!(won.map(|s| s.label.as_str()), Some("Signed"));
        let again = Stages::read(&serde_json::to_value(&stages).unwrap()).unwrap();
        assert_eq!(again, stages);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let many: Vec<String> = (0..31).map(|n| format!("s{n}")).collect();
        let long = "x".repeat(64);
        for (bad, field) in [
            (json!([]), "settings.stages"),
            (json!("x"), "settings.stages"),
            (json!(["a", "a"]), "settings.stages"),
            (json!(["won", "lost"]), "settings.stages"),
            (json!(many), "settings.stages"),
            (json!(["A b"]), "settings.stages[0]"),
            (json!([long]), "settings.stages[0]"),
            (json!(["a", 5]), "settings.stages[1]"),
            (json!([{"label": "x"}]), "settings.stages[0].name"),
            (json!([{"name": "a", "probability": 101}]), "settings.stages[0].probability"),
            (json!([{"name": "a", "probability": 0.5}]), "settings.stages[0].probability"),
            (json!([{"name": "a", "outcome": "maybe"}]), "settings.stages[0].outcome"),
            (json!([{"name": "a", "colour": "red"}]), "settings.stages[0].colour"),
            (json!([{"name": "a", "label": ""}]), "settings.stages[0].label"),
            (json!(["a", {"name": "closed_lost", "outcome": "open"}]), "settings.stages"),
        ] {
            assert_eq!(Stages::read(&bad).unwrap_err()[0].field, field, "{bad}");
        }
        let thirty: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
        assert_eq!(Stages::read(&json!(thirty)).unwrap().0.len(), 32);
    }
}
